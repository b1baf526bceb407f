"""Who may do what: authentication gives a principal, `decide` answers before every handler. Default deny."""
