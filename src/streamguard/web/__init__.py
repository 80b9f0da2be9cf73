"""The HTTP edge.

- `endpoint/`: the decorator; how a request is admitted, and how its endpoint is called for a stream.
- `routes/`: the guard's own routes, and their installation in an application.
- `response/`: the response through which a client views a stream.
- `middleware/`: the outermost layer, which holds one HTTP exchange: its request, and the application's call.
- `application/`: what can be read of the host's application: its routes, its server.
- `access/`: who asks, from which origin, and how much one process allows.

Endpoints and routes share a `GuardContext`. Rooms import only from rooms below them in this list.
"""
