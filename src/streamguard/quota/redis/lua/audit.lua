-- Holds an owner's counters against its reservations.
-- KEYS: ledger_key, records_key, open_key, done_key
-- ARGV: late_ms, ttl_ms, repair (make the counters right), most (so many reservations are read; 0 for any number),
--       quotas… (unit and period (ms) of each)
-- Reply: {answer [, conflicts, sums]}: {'found', conflicts, {used, expected, held, expected, …}}, {'many'} or {'newer'}
--@include ledger
if most > 0 and redis.call('ZCARD', open_key) + redis.call('ZCARD', done_key) > most then
  save()
  return {'many'}
end
local expected, order, sums = {}, {}, {}
for i = quotas_from, #ARGV, 2 do
  local unit, period = ARGV[i], ARGV[i + 1]
  local counters = window(unit, period)
  expected[counters] = {used = counters.folded, held = 0}
  order[#order + 1] = counters
end
for _, key in ipairs({open_key, done_key}) do
  for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    local record = load(id)
    if record then
      counting(record, function(counters, amount)
        local right = expected[counters]
        if right then
          right.used = right.used + amount.charged
          if record.state == 'reserved' then right.held = right.held + amount.reserved end
        end
      end)
    end
  end
end
for _, counters in ipairs(order) do
  local used, held = math.min(expected[counters].used, @MAX_AMOUNT@), expected[counters].held
  for _, number in ipairs({counters.used, used, counters.held, held}) do sums[#sums + 1] = number end
  if repair then
    changed_ledger = changed_ledger or counters.used ~= used or counters.held ~= held
    counters.used, counters.held = used, held
  end
end
save()
return {'found', tonumber(redis.call('HGET', ledger_key, 'x') or 0), sums}
