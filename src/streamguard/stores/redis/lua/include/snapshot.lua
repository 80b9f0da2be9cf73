-- A stream's record as codec.py reads it: its fields in the order of META_FIELDS, the log's length, the time. The last
-- event's number is the log's, while that may go on.
-- A log of another type counts as empty.
--@include last_of
local function snapshot(meta_key, log_key, at_ms)
  local found = redis.call('HMGET', meta_key, @META_FIELDS@)
  if not found[1] then return false end
  local length = redis.pcall('XLEN', log_key)
  local noted = tonumber(found[@LAST_SEQ_AT@])
  if noted and found[@STATE_AT@] == 'o' then
    local last = last_of(log_key, noted)
    if last > noted then found[@LAST_SEQ_AT@] = last end
  end
  found[#found + 1] = type(length) == 'number' and length or 0
  found[#found + 1] = at_ms
  return found
end
