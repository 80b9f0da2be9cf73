"""How a stream comes to be: limits, idempotency, registration, and what happens when the session already has one."""
