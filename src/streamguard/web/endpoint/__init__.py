"""A guarded endpoint: decorating it, admitting a request, and calling it for a stream."""
