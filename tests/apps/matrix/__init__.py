"""The same guarded application on each framework, for the suite of `tests/servers`."""
