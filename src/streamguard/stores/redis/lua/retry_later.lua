-- Notes a failed attempt at what a stream owes, and keeps the stream.
-- KEYS: meta, log, session, streams
-- ARGV: TTL (ms), reason, '1' to count the attempt
-- Reply: OK, GONE (nothing owed, or a dead letter) or CORRUPT
--@include status
--@include extend
--@include newer
--@include keep
local m = redis.call('HMGET', KEYS[1], 'v', 's', 'j', 'jd')
if not m[1] then return GONE end
if newer(m[1]) then return CORRUPT end
if m[2] ~= 'c' or not m[3] or m[4] then return GONE end
if ARGV[3] == '1' then redis.call('HSET', KEYS[1], 'ja', (tonumber(redis.call('HGET', KEYS[1], 'ja') or '') or 0) + 1) end
redis.call('HSET', KEYS[1], 'jr', ARGV[2])
redis.call('HDEL', KEYS[1], 'ju')
keep(ARGV[1])
return OK
