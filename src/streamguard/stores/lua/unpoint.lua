-- Clears a session's active pointer, if it points to a stream of which there is nothing left to end.
-- KEYS: meta, log, session
-- ARGV: stream id
-- Reply: 1 cleared, 0 otherwise
--@include newer
if redis.call('HGET', KEYS[3], 'active') ~= ARGV[1] then return 0 end
local m = redis.call('HMGET', KEYS[1], 'v', 'n', 'x')
if m[1] then
  if newer(m[1]) then return 0 end
  if m[2] == '0' or m[3] ~= '0' or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
end
redis.call('HDEL', KEYS[3], 'active')
return 1
