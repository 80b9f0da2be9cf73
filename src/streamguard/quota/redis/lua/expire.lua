-- Sees whether a reservation has expired.
-- KEYS: ledger, records, open, done
-- ARGV: late, remember, TTL (ms); reservation
-- Reply: {state, whether it expired in this step, 0, reservation}, {'unknown'} or {'newer'}
--@include ledger
local record = find(ARGV[4])
save()
if not record then return {'unknown'} end
return {record[1], ended[ARGV[4]] and 1 or 0, 0, shown(record)}
