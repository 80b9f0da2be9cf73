"""Adapters for frameworks and model libraries, one module each. They import their library only where they need it."""
