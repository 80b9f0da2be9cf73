"""A stream that this process produces: its endpoint, its events, and their way into the log."""
