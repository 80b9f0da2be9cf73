"""A guarded endpoint: what is decided when decorating, and how one request becomes a stream."""
