-- Creates a session, unless it is there.
-- KEYS: session_key
-- ARGV: ttl_ms, owner, session_id
-- Reply: {answer [, branch]}: {'created' or 'present', how often its history was superseded} or {'newer'}
--@include session
local version, branch = unpack(redis.call('HMGET', session_key, 'v', 'br'))
if version and is_newer(version) then return {'newer'} end
if not version then
  redis.call('HSET', session_key, 'v', @FORMAT_VERSION@, 'n', 0, 'ow', owner, 'se', session_id)
end
redis.call('PEXPIRE', session_key, ttl_ms)
return {version and 'present' or 'created', (branch or 0) + 0}
