-- Reads messages in order.
-- KEYS: session
-- ARGV: the position before the first, how many at most, '1' for those of old branches too or '0'
-- Reply: {'found', {position, id, message, writers, status, created, updated, branch, superseded}, …} or {'newer'}
--@include prelude
local s = redis.call('HMGET', KEYS[1], 'v', 'n')
if not s[1] then return {'found'} end
if newer(s[1]) then return {'newer'} end
local reply = {'found'}
for position = ARGV[1] + 1, s[2] + 0 do
  if ARGV[3] == '1' or not redis.call('HGET', KEYS[1], 'x:' .. position) then
    reply[#reply + 1] = record(position)
    if #reply > tonumber(ARGV[2]) then break end
  end
end
return reply
