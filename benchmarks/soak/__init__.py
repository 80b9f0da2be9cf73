"""A soak: mixed chats on two workers and a real Redis, faults all the while, and at the end a check of every promise.

Run it with `scripts/soak --seconds N --seed S`. `history` says what is recorded, `checker` what must hold of it.
Everything listens on loopback addresses only, and every process is ended by its id.
"""
