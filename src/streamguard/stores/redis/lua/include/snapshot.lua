-- A stream's record as codec.py reads it: its fields in the order of META_FIELDS, the log's length, the time.
-- A log of another type is none: nothing of it is held.
local function snapshot(meta, log, at)
  local found = redis.call('HMGET', meta, @META_FIELDS@)
  if not found[1] then return false end
  local length = redis.pcall('XLEN', log)
  found[#found + 1] = type(length) == 'number' and length or 0
  found[#found + 1] = at
  return found
end
