-- Asks a stream's writer to stop.
-- KEYS: meta
-- ARGV: none
-- Reply: 'requested', 'expired' (asked too, but the writer's lease ran out), 'ended' (or unknown) or 'newer'
--@include time
--@include newer
--@include tell
local m = redis.call('HMGET', KEYS[1], 'v', 's', 'd')
if not m[1] then return 'ended' end
if newer(m[1]) then return 'newer' end
if m[2] ~= 'o' then return 'ended' end
redis.call('HSET', KEYS[1], 'p', 1)
tell(KEYS[1], 1)
return tonumber(m[3]) > now() and 'requested' or 'expired'
