-- Reserves amounts for a stream, if they fit under every quota.
-- KEYS: ledger_key, records_key, open_key, done_key
-- ARGV: late_ms, ttl_ms, id (the reservation's), owner, hold_ms, amount_count,
--       amounts_and_quotas… (unit and amount of each amount (sorted), then unit, period (ms) and limit of each quota)
-- Reply: {answer [, standings, reservation]}: {'admitted', standings, reservation}, {'refused', standings}, {'differs'} or
--        {'newer'}
--@include ledger
local quotas_from = amounts_and_quotas_from + 2 * amount_count
local asked = {}
for i = amounts_and_quotas_from, quotas_from - 1, 2 do
  asked[#asked + 1] = {unit = ARGV[i], reserved = ARGV[i + 1], charged = '0'}
end
local record = find(id)
if record then
  local same = #record.amounts == amount_count
  for i, amount in ipairs(record.amounts) do
    same = same and amount.unit == asked[i].unit and amount.reserved == asked[i].reserved
  end
  if not same then
    contradicted()
    save()
    return {'differs'}
  end
else
  local asked_of = {}
  for _, amount in ipairs(asked) do asked_of[amount.unit] = tonumber(amount.reserved) end
  record = {state = 'reserved', deadline = whole(at + hold_ms), late = '', amounts = asked, places = {}}
  for i = quotas_from, #ARGV, 3 do
    local unit, period, limit = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
    local counters = window(unit, period)
    if counters.used + counters.held + asked_of[unit] > limit then
      save()
      return {'refused', standings(quotas_from, 3)}
    end
    table.insert(record.places, {unit = unit, period = period, number = whole(counters.number)})
  end
  redis.call('HSET', ledger_key, 'v', @FORMAT_VERSION@, 'ow', owner,
    't', math.max(tonumber(redis.call('HGET', ledger_key, 't') or 0), ttl_ms))
  counting(record, function(counters, amount) counters.held = counters.held + amount.reserved end)
  keep(id, record)
  redis.call('ZADD', open_key, record.deadline, id)
end
save()
return {'admitted', standings(quotas_from, 3), shown(record)}
