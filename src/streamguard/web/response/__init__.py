"""The responses: the one through which a client views a stream, a resumed view, and those without a stream."""
