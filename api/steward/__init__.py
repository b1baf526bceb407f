"""The steward: the background work of a cluster, done by one process at a time."""
