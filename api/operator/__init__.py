"""What an operator sees: the cluster's status, and health for those who watch it."""
