"""A stream that this process produces: its endpoint, its events, and how they get into the log."""
