-- Lists what an owner has reserved, soonest to expire first.
-- KEYS: ledger, records, open, done
-- ARGV: late, remember, TTL (ms); how many at most
-- Reply: {'found', reservation's name, reservation, …} or {'newer'}
--@include ledger
local reply = {'found'}
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, ARGV[4] - 1)) do
  reply[#reply + 1] = id
  reply[#reply + 1] = shown(load(id))
end
save()
return reply
