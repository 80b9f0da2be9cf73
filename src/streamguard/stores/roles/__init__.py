"""The roles of a stream store: one contract each, so that a caller asks for no more than it uses.

`StreamLog` is the one role that every store has. `streamguard.stores` says what the others add.
"""
