-- Charges what a stream consumed and frees the rest.
-- KEYS: ledger_key, records_key, open_key, done_key
-- ARGV: late_ms, ttl_ms, id (the reservation's), remember_ms, known… (unit and amount of what is known to be consumed)
-- Reply: {answer [, changed, conflict, reservation]}: {state, 1 or 0, 1 or 0, reservation}, {'unknown'} or {'newer'}
--@include ledger
local known = {}
for i = known_from, #ARGV, 2 do known[ARGV[i]] = ARGV[i + 1] end
local record, changed, conflict = find(id), 0, 0
if not record then
  save()
  return {'unknown'}
end
if record.state == 'reserved' or record.state == 'expired' then
  record.late = record.state == 'expired' and '1' or ''
  for _, amount in ipairs(record.amounts) do amount.charged = known[amount.unit] or amount.reserved end
  finish(id, record, 'committed', at + remember_ms)
  changed = 1
else
  if record.state == 'released' then conflict = 1 end
  for _, amount in ipairs(record.amounts) do
    if (known[amount.unit] or amount.reserved) ~= amount.charged then conflict = 1 end
  end
  if conflict == 1 then contradicted() end
end
save()
return {record.state, changed, conflict, shown(record)}
