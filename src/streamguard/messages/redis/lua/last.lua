-- Reads a session's last visible message.
-- KEYS: session
-- ARGV: none
-- Reply: {'found', position, id, message, writers, status, created, updated, branch, superseded}, {'missing'} or {'newer'}
--@include prelude
local s = redis.call('HMGET', KEYS[1], 'v', 'n')
if s[1] and newer(s[1]) then return {'newer'} end
for position = (s[2] or 0) + 0, 1, -1 do
  if not redis.call('HGET', KEYS[1], 'x:' .. position) then return {'found', unpack(record(position), 1, 9)} end
end
return {'missing'}
