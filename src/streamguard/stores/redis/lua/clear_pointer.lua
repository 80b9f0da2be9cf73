-- Clears a session's active pointer, if it points to a stream of which there is nothing left to end.
-- KEYS: meta, log, session
-- ARGV: stream id, '1' if what is there cannot be read: then it is in nobody's way either
-- Reply: 1 cleared, 0 otherwise
--@include newer
--@include fields
local session = fields(KEYS[3], 'active')
if not session or session[1] ~= ARGV[1] then return 0 end
local m = fields(KEYS[1], 'v', 'n', 'x')
if m and m[1] and tonumber(m[1]) and newer(m[1]) then return 0 end
if m and m[1] and ARGV[2] ~= '1' then
  if m[2] == '0' or m[3] ~= '0' or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
end
redis.call('HDEL', KEYS[3], 'active')
return 1
