-- Sets a visible message's status.
-- KEYS: session_key
-- ARGV: ttl_ms, id, status
-- Reply: 'marked', 'missing' or 'newer'
--@include session
--@include versions
local version, positions = unpack(redis.call('HMGET', session_key, 'v', 'i:' .. id))
if version and is_newer(version) then return 'newer' end
local found = visible(positions)
if not found then return 'missing' end
redis.call('HSET', session_key, 's:' .. found.position, status, 'u:' .. found.position, now_ms())
redis.call('PEXPIRE', session_key, ttl_ms)
return 'marked'
