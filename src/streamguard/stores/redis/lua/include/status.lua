-- What a script replies first; the order is that of `STATUSES` in codec.py.
local OK, DUPLICATE, FENCED, GAP, SEALED, GONE, LEASED, NOT_SEALED, LOST, LATE, CORRUPT = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
