-- Creates a session, unless it is there.
-- KEYS: session
-- ARGV: TTL (ms), owner, session id
-- Reply: 'created', 'present' or 'newer'
--@include prelude
local version = redis.call('HGET', KEYS[1], 'v')
if version and newer(version) then return 'newer' end
if not version then
  redis.call('HSET', KEYS[1], 'v', @FORMAT_VERSION@, 'n', 0, 'ow', ARGV[2], 'se', ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return version and 'present' or 'created'
