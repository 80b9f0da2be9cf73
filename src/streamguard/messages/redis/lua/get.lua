-- Reads one visible message; of one that is in old branches only, its newest version, if asked for.
-- KEYS: session
-- ARGV: message id, 1 for old branches too
-- Reply: {'found', position, id, message, writers, status, created, updated, branch, superseded}, {'missing'} or {'newer'}
--@include prelude
--@include versions
local s = redis.call('HMGET', KEYS[1], 'v', 'i:' .. ARGV[1])
if s[1] and newer(s[1]) then return {'newer'} end
local found = visible(s[2])
if not found and ARGV[2] == '1' then
  local all = versions(s[2])
  found = all[#all]
end
if not found then return {'missing'} end
return {'found', unpack(record(found.position), 1, 9)}
