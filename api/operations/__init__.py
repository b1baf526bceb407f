"""What can be done with buckets and objects: one vocabulary for all dialects.

Operations take names, conditions and bodies, return values, and raise the four kinds of errors. They know neither
HTTP nor rows.
"""
