-- The number of a log's last event. The record's own number is that of some event before, or of this one: events that
-- are added one by one are not noted there (see append.lua).
local function last_of(log_key, noted)
  local found = redis.pcall('XREVRANGE', log_key, '+', '-', 'COUNT', 1)
  if found.err and not string.find(found.err, 'WRONGTYPE', 1, true) then error(found.err, 0) end
  return math.max(found[1] and tonumber(string.match(found[1][1], '%d+$')) or 0, tonumber(noted))
end
