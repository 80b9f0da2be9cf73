"""The documentation, checked against the package."""
