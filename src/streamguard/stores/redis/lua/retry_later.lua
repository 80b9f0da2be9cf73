-- Notes a failed attempt at what a stream owes, and keeps the stream.
-- KEYS: meta_key, log_key, session_key, streams_key
-- ARGV: ttl_ms, reason, counts (whether it counts as an attempt)
-- Reply: OK, GONE (nothing owed, or a dead letter) or CORRUPT
--@include status
--@include extend_ttl
--@include is_newer
--@include keep_closed
local version, state, payload, dead, attempts =
  unpack(redis.call('HMGET', meta_key, @version@, @state@, @payload@, @dead@, @attempts@))
if not version then return GONE end
if is_newer(version) then return CORRUPT end
if state ~= 'c' or not payload or dead then return GONE end
if counts then redis.call('HSET', meta_key, @attempts@, (tonumber(attempts) or 0) + 1) end
redis.call('HSET', meta_key, @reason@, reason)
redis.call('HDEL', meta_key, @left_since@)
keep_closed(ttl_ms)
return OK
