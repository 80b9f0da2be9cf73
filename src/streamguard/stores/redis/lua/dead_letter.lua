-- Makes what a stream owes a dead letter, a pending save one that was not made, and keeps the stream.
-- KEYS: meta, log, session, streams
-- ARGV: TTL (ms), reason
-- Reply: OK, GONE (nothing owed) or CORRUPT
--@include status
--@include extend
--@include newer
--@include keep
local m = redis.call('HMGET', KEYS[1], 'v', 's', 'j', 'jd', 'y')
if not m[1] then return GONE end
if newer(m[1]) then return CORRUPT end
if m[2] ~= 'c' or not m[3] then return GONE end
if not m[4] then redis.call('HSET', KEYS[1], 'ja', (tonumber(redis.call('HGET', KEYS[1], 'ja') or '') or 0) + 1) end
redis.call('HSET', KEYS[1], 'jd', 1, 'jr', ARGV[2])
if m[5] == 'pending' then redis.call('HSET', KEYS[1], 'y', 'no') end
keep(ARGV[1])
return OK
