-- Reads one visible message; of one that is in old branches only, its newest version, if asked for.
-- KEYS: session_key
-- ARGV: id, branches (whether to look in old branches too)
-- Reply: {answer [, message]}: {'found', the message}, {'missing'} or {'newer'}
--@include session
--@include versions
local version, positions = unpack(redis.call('HMGET', session_key, 'v', 'i:' .. id))
if version and is_newer(version) then return {'newer'} end
local found = visible(positions)
if not found and branches then
  local all = versions(positions)
  found = all[#all]
end
if not found then return {'missing'} end
return {'found', record(found.position)}
