-- Reads a session's last message.
-- KEYS: session
-- ARGV: none
-- Reply: {'found', position, id, message, writers, status, created, updated}, {'missing'} or {'newer'}
--@include prelude
local s = redis.call('HMGET', KEYS[1], 'v', 'n')
if s[1] and newer(s[1]) then return {'newer'} end
if not s[1] or s[2] == '0' then return {'missing'} end
return {'found', unpack(record(s[2]))}
