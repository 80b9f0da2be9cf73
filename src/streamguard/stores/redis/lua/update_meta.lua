-- Sets the mutable fields of a stream's record.
-- KEYS: meta
-- ARGV: field and value pairs
-- Reply: OK, GONE or CORRUPT
--@include status
--@include newer
local version = redis.call('HGET', KEYS[1], 'v')
if not version then return GONE end
if newer(version) then return CORRUPT end
if #ARGV > 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return OK
