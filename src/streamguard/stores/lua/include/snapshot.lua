-- A stream's record as redis_records.py reads it: its fields in the order of META_FIELDS, the log's length, the time.
local function snapshot(meta, log, at)
  local found = redis.call('HMGET', meta, @META_FIELDS@)
  if not found[1] then return false end
  found[#found + 1] = redis.call('XLEN', log)
  found[#found + 1] = at
  return found
end
