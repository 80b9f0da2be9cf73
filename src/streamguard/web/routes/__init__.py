"""The guard's own routes, and what each answers."""
