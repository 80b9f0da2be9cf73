-- Makes what a stream owes a dead letter, a pending save one that was not made, and keeps the stream.
-- KEYS: meta_key, log_key, session_key, streams_key
-- ARGV: ttl_ms, reason
-- Reply: OK, GONE (nothing owed) or CORRUPT
--@include status
--@include extend_ttl
--@include is_newer
--@include keep_closed
local version, state, payload, dead, persisted, attempts =
  unpack(redis.call('HMGET', meta_key, @version@, @state@, @payload@, @dead@, @persisted@, @attempts@))
if not version then return GONE end
if is_newer(version) then return CORRUPT end
if state ~= 'c' or not payload then return GONE end
if not dead then redis.call('HSET', meta_key, @attempts@, (tonumber(attempts) or 0) + 1) end
redis.call('HSET', meta_key, @dead@, 1, @reason@, reason)
if persisted == 'pending' then redis.call('HSET', meta_key, @persisted@, 'no') end
keep_closed(ttl_ms)
return OK
