-- Reads messages in order.
-- KEYS: session
-- ARGV: the position before the first, how many at most
-- Reply: {'found', {position, id, message, writers, status, created, updated}, …} or {'newer'}
--@include prelude
local s = redis.call('HMGET', KEYS[1], 'v', 'n')
if not s[1] then return {'found'} end
if newer(s[1]) then return {'newer'} end
local reply = {'found'}
for position = ARGV[1] + 1, math.min(ARGV[1] + ARGV[2], s[2]) do
  reply[#reply + 1] = record(position)
end
return reply
