-- Keeps reservations of one owner.
-- KEYS: ledger_key, records_key, open_key, done_key
-- ARGV: late_ms, ttl_ms, hold_ms, ids… (the reservations')
-- Reply: {answer, states…}: {'renewed', state of each, …} or {'newer'}
--@include ledger
local reply = {'renewed'}
redis.call('ZREM', open_key, '') -- no reservation's name: a first write that needs no memory, see `finish`
for i = ids_from, #ARGV do
  local id = ARGV[i]
  local record = find(id)
  if record and record.state == 'reserved' then
    record.deadline = whole(math.max(tonumber(record.deadline), at + hold_ms))
    keep(id, record)
    redis.call('ZADD', open_key, record.deadline, id)
  end
  reply[#reply + 1] = record and record.state or 'unknown'
end
save()
return reply
