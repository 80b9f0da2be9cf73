-- Charges what a stream consumed and frees the rest.
-- KEYS: ledger, records, open, done
-- ARGV: late, remember, TTL (ms); reservation, unit and amount of what is known to have been consumed
-- Reply: {state, changed, conflict, reservation}, {'unknown'} or {'newer'}
--@include ledger
local id, known = ARGV[4], {}
for i = 5, #ARGV, 2 do known[ARGV[i]] = ARGV[i + 1] end
local record, changed, conflict = find(id), 0, 0
if not record then
  save()
  return {'unknown'}
end
if record[1] == 'reserved' or record[1] == 'expired' then
  record[3] = record[1] == 'expired' and '1' or ''
  for _, amount in ipairs(record[4]) do amount[3] = known[amount[1]] or amount[2] end
  finish(id, record, 'committed', at + ARGV[2])
  changed = 1
else
  if record[1] == 'released' then conflict = 1 end
  for _, amount in ipairs(record[4]) do
    if (known[amount[1]] or amount[2]) ~= amount[3] then conflict = 1 end
  end
  if conflict == 1 then contradicted() end
end
save()
return {record[1], changed, conflict, shown(record)}
