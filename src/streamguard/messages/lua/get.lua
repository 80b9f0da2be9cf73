-- Reads one message.
-- KEYS: session
-- ARGV: message id
-- Reply: {'found', position, id, message, writers, status, created, updated}, {'missing'} or {'newer'}
--@include prelude
local s = redis.call('HMGET', KEYS[1], 'v', 'i:' .. ARGV[1])
if s[1] and newer(s[1]) then return {'newer'} end
if not s[2] then return {'missing'} end
return {'found', unpack(record(s[2]))}
