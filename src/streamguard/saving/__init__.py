"""Saving what streams said: once, with retries, and owed to the outbox where it cannot be done in time."""
