-- Makes a dead letter work again, with no attempts behind it; anything else that is owed stays as it is.
-- KEYS: meta
-- ARGV: '1' if a save is among what is owed: one on record as not made is pending again
-- Reply: OK, DUPLICATE (owed, and no dead letter), GONE (nothing owed) or CORRUPT
--@include status
--@include newer
local m = redis.call('HMGET', KEYS[1], 'v', 's', 'j', 'jd', 'y')
if not m[1] then return GONE end
if newer(m[1]) then return CORRUPT end
if m[2] ~= 'c' or not m[3] then return GONE end
if not m[4] then return DUPLICATE end
redis.call('HDEL', KEYS[1], 'jd', 'ja', 'ju')
if ARGV[1] == '1' and m[5] == 'no' then redis.call('HSET', KEYS[1], 'y', 'pending') end
return OK
