-- Frees what a stream has reserved and charges nothing.
-- KEYS: ledger_key, records_key, open_key, done_key
-- ARGV: late_ms, ttl_ms, id (the reservation's), remember_ms
-- Reply: {answer [, changed, conflict, reservation]}: {state, 1 or 0, 1 or 0, reservation}, {'unknown'} or {'newer'}
--@include ledger
local record, changed, conflict = find(id), 0, 0
if not record then
  save()
  return {'unknown'}
end
if record.state == 'reserved' then
  finish(id, record, 'released', at + remember_ms)
  changed = 1
elseif record.state == 'committed' then
  contradicted()
  conflict = 1
end
save()
return {record.state, changed, conflict, shown(record)}
