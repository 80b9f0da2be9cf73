"""What OpenAPI documents say of guarded endpoints and of the guard's routes, in every framework."""
