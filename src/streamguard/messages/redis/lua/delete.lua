-- Deletes a session, whatever its key holds, unless a later version wrote it.
-- KEYS: session
-- ARGV: none
-- Reply: 'deleted' or 'newer'
--@include prelude
local version = redis.pcall('HGET', KEYS[1], 'v') -- an error, as of a key of another type, is a table
if type(version) == 'string' and tonumber(version) and newer(version) then return 'newer' end
redis.call('UNLINK', KEYS[1])
return 'deleted'
