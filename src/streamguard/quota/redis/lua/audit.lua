-- Holds an owner's counters against its reservations.
-- KEYS: ledger, records, open, done
-- ARGV: late, remember, TTL (ms); '1' to make the counters right, unit and period (ms) of each quota
-- Reply: {'found', conflicts, {used, expected, held, expected, …}} or {'newer'}
--@include ledger
local expected, order, reply = {}, {}, {}
for i = 5, #ARGV, 2 do
  local found = window(ARGV[i], ARGV[i + 1])
  expected[found] = {found[4], 0}
  order[#order + 1] = found
end
for _, key in ipairs({KEYS[3], KEYS[4]}) do
  for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    local record = load(id)
    if record then
      counting(record, function(found, amount)
        local sums = expected[found]
        if sums then
          sums[1] = sums[1] + amount[3]
          if record[1] == 'reserved' then sums[2] = sums[2] + amount[2] end
        end
      end)
    end
  end
end
for _, found in ipairs(order) do
  local used, held = math.min(expected[found][1], @MAX_AMOUNT@), expected[found][2]
  for _, number in ipairs({found[2], used, found[3], held}) do reply[#reply + 1] = number end
  if ARGV[4] == '1' then
    written = written or found[2] ~= used or found[3] ~= held
    found[2], found[3] = used, held
  end
end
save()
return {'found', tonumber(redis.call('HGET', KEYS[1], 'x') or 0), reply}
