"""The HTTP edge: the decorator, the routes, identities, limits, and the response that views a stream."""
