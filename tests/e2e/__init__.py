"""End to end: real worker processes, a real Redis, clients that share no code with the package."""
