-- Reads one reservation.
-- KEYS: ledger, records, open, done
-- ARGV: late, remember, TTL (ms); reservation
-- Reply: {'found', reservation}, {'unknown'} or {'newer'}
--@include ledger
local record = find(ARGV[4])
save()
return record and {'found', shown(record)} or {'unknown'}
