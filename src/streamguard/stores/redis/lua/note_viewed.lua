-- Notes that a stream is viewed outside its writer's process.
-- KEYS: meta
-- ARGV: none
-- Reply: 1, or 0 when it is not open, or a later version wrote it
--@include time
--@include newer
local m = redis.call('HMGET', KEYS[1], 'v', 's')
if not m[1] or newer(m[1]) or m[2] ~= 'o' then return 0 end
redis.call('HSET', KEYS[1], 'va', now())
return 1
