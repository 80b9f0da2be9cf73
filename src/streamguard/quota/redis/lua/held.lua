-- Lists what an owner has reserved, soonest to expire first.
-- KEYS: ledger_key, records_key, open_key, done_key
-- ARGV: late_ms, ttl_ms, limit
-- Reply: {answer, found…}: {'found', name and reservation of each, …} or {'newer'}
--@include ledger
local reply = {'found'}
for _, id in ipairs(redis.call('ZRANGE', open_key, 0, limit - 1)) do
  reply[#reply + 1] = id
  reply[#reply + 1] = shown(load(id))
end
save()
return reply
