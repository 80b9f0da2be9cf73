-- Says that a closed stream owes nothing any more, sets the mutable fields of its record, and keeps it for a while.
-- KEYS: meta_key, log_key, session_key, streams_key
-- ARGV: retention_ms, fields… (name and value of each)
-- Reply: {status [, closed]}: {OK, 1 if it is closed or 0 if not (then only the fields were set)}, {GONE} or {CORRUPT}
--@include status
--@include extend_ttl
--@include is_newer
--@include keep_closed
local version, state = unpack(redis.call('HMGET', meta_key, @version@, @state@))
if not version then return {GONE} end
if is_newer(version) then return {CORRUPT} end
if #ARGV >= fields_from then redis.call('HSET', meta_key, unpack(ARGV, fields_from)) end
if state ~= 'c' then return {OK, 0} end
redis.call('HDEL', meta_key, @payload@, @attempts@, @reason@, @dead@, @left_since@)
keep_closed(retention_ms)
return {OK, 1}
