"""Reading a stream: viewers, the recent events they share, and what a client that comes back is told."""
