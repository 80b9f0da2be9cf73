-- Deletes a session.
-- KEYS: session
-- ARGV: none
-- Reply: 'deleted' or 'newer'
--@include prelude
local version = redis.call('HGET', KEYS[1], 'v')
if version and newer(version) then return 'newer' end
redis.call('UNLINK', KEYS[1])
return 'deleted'
