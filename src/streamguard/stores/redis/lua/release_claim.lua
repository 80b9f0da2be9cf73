-- Leaves what a stream owes to a worker that knows more. Neither counts as an attempt nor keeps the stream.
-- KEYS: meta
-- ARGV: reason
-- Reply: {OK, for how long it has been left so, by everybody (ms)}, {GONE} (nothing owed, or a dead letter) or {CORRUPT}
--@include status
--@include time
--@include newer
local m = redis.call('HMGET', KEYS[1], 'v', 's', 'j', 'jd', 'ju')
if not m[1] then return {GONE} end
if newer(m[1]) then return {CORRUPT} end
if m[2] ~= 'c' or not m[3] or m[4] then return {GONE} end
local at = now()
local since = tonumber(m[5] or '') or at
redis.call('HSET', KEYS[1], 'ju', since, 'jr', ARGV[1])
return {OK, at - since}
