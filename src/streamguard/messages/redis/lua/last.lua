-- Reads a session's last visible message.
-- KEYS: session_key
-- ARGV: none
-- Reply: {answer [, message]}: {'found', the message}, {'missing'} or {'newer'}
--@include session
local version, count = unpack(redis.call('HMGET', session_key, 'v', 'n'))
if version and is_newer(version) then return {'newer'} end
for position = (count or 0) + 0, 1, -1 do
  if not redis.call('HGET', session_key, 'x:' .. position) then return {'found', record(position)} end
end
return {'missing'}
