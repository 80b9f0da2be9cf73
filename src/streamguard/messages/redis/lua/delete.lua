-- Deletes a session, whatever its key holds, unless a later version wrote it.
-- KEYS: session_key
-- ARGV: none
-- Reply: 'deleted' or 'newer'
--@include session
local version = redis.pcall('HGET', session_key, 'v') -- an error, as of a key of another type, is a table
if type(version) == 'string' and tonumber(version) and is_newer(version) then return 'newer' end
redis.call('UNLINK', session_key)
return 'deleted'
