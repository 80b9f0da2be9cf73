"""A soak: mixed chats on two workers and a real Redis, with faults all the time, and finally a check of every promise.

Run it with `scripts/soak --seconds N --seed S`. `history` defines what is recorded, `checker` what must hold for it.
All processes listen on loopback addresses only, and each is ended by its id.
"""
