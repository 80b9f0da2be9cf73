-- Reserves amounts for a stream, if they fit under every quota.
-- KEYS: ledger, records, open, done
-- ARGV: late, remember, TTL (ms); reservation, owner, hold (ms), number of amounts, unit and amount of each (sorted),
--       unit, period (ms) and limit of each quota
-- Reply: {'admitted', reservation, standings}, {'refused', standings}, {'differs'} or {'newer'}
--@include ledger
local id, first = ARGV[4], 8 + 2 * ARGV[7]
local record = find(id)
if record then
  local same = #record[4] == tonumber(ARGV[7])
  for i, amount in ipairs(record[4]) do
    same = same and amount[1] == ARGV[6 + 2 * i] and amount[2] == ARGV[7 + 2 * i]
  end
  if not same then
    contradicted()
    save()
    return {'differs'}
  end
else
  local asked = {}
  record = {'reserved', whole(at + ARGV[6]), '', {}, {}}
  for i = 8, first - 1, 2 do
    asked[ARGV[i]] = tonumber(ARGV[i + 1])
    table.insert(record[4], {ARGV[i], ARGV[i + 1], '0'})
  end
  for i = first, #ARGV, 3 do
    local found = window(ARGV[i], ARGV[i + 1])
    if found[2] + found[3] + asked[ARGV[i]] > tonumber(ARGV[i + 2]) then
      save()
      return {'refused', standings(first, 3)}
    end
    table.insert(record[5], {ARGV[i], ARGV[i + 1], whole(found[1])})
  end
  redis.call('HSET', KEYS[1], 'v', @FORMAT_VERSION@, 'ow', ARGV[5],
    't', math.max(tonumber(redis.call('HGET', KEYS[1], 't') or 0), tonumber(ARGV[3])))
  counting(record, function(found, amount) found[3] = found[3] + amount[2] end)
  keep(id, record)
  redis.call('ZADD', KEYS[3], record[2], id)
end
save()
return {'admitted', shown(record), standings(first, 3)}
