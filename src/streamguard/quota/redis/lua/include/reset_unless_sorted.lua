-- Makes sure that a key is a sorted set, or missing. One of another type holds nothing that could be saved, and would keep
-- everything else out: it is removed. Returns whether it was.
local function reset_unless_sorted(key)
  local found = redis.pcall('ZCARD', key)
  if type(found) == 'number' then return false end
  if not string.find(found.err, 'WRONGTYPE', 1, true) then error(found.err, 0) end
  redis.call('UNLINK', key)
  return true
end
