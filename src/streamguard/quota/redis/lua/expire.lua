-- Sees whether a reservation has expired.
-- KEYS: ledger_key, records_key, open_key, done_key
-- ARGV: late_ms, ttl_ms, id (the reservation's)
-- Reply: {answer [, changed, conflict, reservation]}: {state, whether it expired in this step, 0, reservation},
--        {'unknown'} or {'newer'}
--@include ledger
local record = find(id)
save()
if not record then return {'unknown'} end
return {record.state, expired_now[id] and 1 or 0, 0, shown(record)}
