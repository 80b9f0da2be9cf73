-- Reads messages in order.
-- KEYS: session_key
-- ARGV: after (the position before the first), limit, branches (whether to read those of old branches too)
-- Reply: {answer, messages…}: {'found', each message, …} or {'newer'}
--@include session
local version, count = unpack(redis.call('HMGET', session_key, 'v', 'n'))
if not version then return {'found'} end
if is_newer(version) then return {'newer'} end
local reply = {'found'}
for position = after + 1, count + 0 do
  if branches or not redis.call('HGET', session_key, 'x:' .. position) then
    reply[#reply + 1] = record(position)
    if #reply > limit then break end
  end
end
return reply
