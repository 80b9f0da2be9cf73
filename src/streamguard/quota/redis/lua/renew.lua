-- Keeps reservations of one owner.
-- KEYS: ledger, records, open, done
-- ARGV: late, remember, TTL (ms); hold (ms), reservations
-- Reply: {'renewed', state, …} or {'newer'}
--@include ledger
local reply = {'renewed'}
redis.call('ZREM', KEYS[3], '') -- nobody's name: a first write that needs no memory, see `finish`
for i = 5, #ARGV do
  local record = find(ARGV[i])
  if record and record[1] == 'reserved' then
    record[2] = whole(math.max(tonumber(record[2]), at + ARGV[4]))
    keep(ARGV[i], record)
    redis.call('ZADD', KEYS[3], record[2], ARGV[i])
  end
  reply[#reply + 1] = record and record[1] or 'unknown'
end
save()
return reply
