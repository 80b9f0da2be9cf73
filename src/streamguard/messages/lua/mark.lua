-- Sets a message's status.
-- KEYS: session
-- ARGV: TTL (ms), message id, status
-- Reply: 'marked', 'missing' or 'newer'
--@include prelude
local s = redis.call('HMGET', KEYS[1], 'v', 'i:' .. ARGV[2])
if s[1] and newer(s[1]) then return 'newer' end
if not s[2] then return 'missing' end
redis.call('HSET', KEYS[1], 's:' .. s[2], ARGV[3], 'u:' .. s[2], now())
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 'marked'
