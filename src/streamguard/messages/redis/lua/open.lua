-- Creates a session, unless it is there.
-- KEYS: session
-- ARGV: TTL (ms), owner, session id
-- Reply: {'created' or 'present', how often its history was superseded} or {'newer'}
--@include prelude
local s = redis.call('HMGET', KEYS[1], 'v', 'br')
if s[1] and newer(s[1]) then return {'newer'} end
if not s[1] then
  redis.call('HSET', KEYS[1], 'v', @FORMAT_VERSION@, 'n', 0, 'ow', ARGV[2], 'se', ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {s[1] and 'present' or 'created', (s[2] or 0) + 0}
