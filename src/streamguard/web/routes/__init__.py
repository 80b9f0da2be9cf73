"""The guard's own routes: their answers, and their installation in an application."""
