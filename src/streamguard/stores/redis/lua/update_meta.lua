-- Sets the mutable fields of a stream's record.
-- KEYS: meta_key
-- ARGV: fields… (name and value of each)
-- Reply: OK, GONE or CORRUPT
--@include status
--@include is_newer
local version = redis.call('HGET', meta_key, @version@)
if not version then return GONE end
if is_newer(version) then return CORRUPT end
if #ARGV >= fields_from then redis.call('HSET', meta_key, unpack(ARGV, fields_from)) end
return OK
