"""The outermost ASGI layer of a guard: one HTTP exchange, its request and the call that answers it."""
