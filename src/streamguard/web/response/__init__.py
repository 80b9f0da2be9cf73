"""One HTTP exchange: the request as it is read, and the response through which one client views one stream."""
