-- Says that a closed stream owes nothing any more, sets the mutable fields of its record, and keeps it for a while.
-- KEYS: meta, log, session, streams
-- ARGV: retention (ms), then field and value pairs
-- Reply: {OK, 1 closed or 0 not (then only the fields were set)}, {GONE} or {CORRUPT}
--@include status
--@include extend
--@include newer
--@include keep
local m = redis.call('HMGET', KEYS[1], 'v', 's')
if not m[1] then return {GONE} end
if newer(m[1]) then return {CORRUPT} end
if #ARGV > 1 then redis.call('HSET', KEYS[1], unpack(ARGV, 2)) end
if m[2] ~= 'c' then return {OK, 0} end
redis.call('HDEL', KEYS[1], 'j', 'ja', 'jr', 'jd', 'ju')
keep(ARGV[1])
return {OK, 1}
