-- Sets a visible message's status.
-- KEYS: session
-- ARGV: TTL (ms), message id, status
-- Reply: 'marked', 'missing' or 'newer'
--@include prelude
--@include versions
local s = redis.call('HMGET', KEYS[1], 'v', 'i:' .. ARGV[2])
if s[1] and newer(s[1]) then return 'newer' end
local found = visible(s[2])
if not found then return 'missing' end
redis.call('HSET', KEYS[1], 's:' .. found.position, ARGV[3], 'u:' .. found.position, now())
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 'marked'
