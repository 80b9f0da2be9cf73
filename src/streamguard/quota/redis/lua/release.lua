-- Frees what a stream has reserved and charges nothing.
-- KEYS: ledger, records, open, done
-- ARGV: late, remember, TTL (ms); reservation
-- Reply: {state, changed, conflict, reservation}, {'unknown'} or {'newer'}
--@include ledger
local record, changed, conflict = find(ARGV[4]), 0, 0
if not record then
  save()
  return {'unknown'}
end
if record[1] == 'reserved' then
  finish(ARGV[4], record, 'released', at + ARGV[2])
  changed = 1
elseif record[1] == 'committed' then
  contradicted()
  conflict = 1
end
save()
return {record[1], changed, conflict, shown(record)}
