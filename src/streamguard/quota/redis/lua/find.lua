-- Reads one reservation.
-- KEYS: ledger_key, records_key, open_key, done_key
-- ARGV: late_ms, ttl_ms, id (the reservation's)
-- Reply: {answer [, reservation]}: {'found', reservation}, {'unknown'} or {'newer'}
--@include ledger
local record = find(id)
save()
return record and {'found', shown(record)} or {'unknown'}
