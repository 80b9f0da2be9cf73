"""The application that the guard is mounted in: its routes, its layers, its server."""
