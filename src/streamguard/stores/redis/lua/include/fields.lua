-- Fields of a hash; nil where the key is of another type: then nothing of ours is there.
local function fields(key, ...)
  local found = redis.pcall('HMGET', key, ...)
  if not found.err then return found end
  if not string.find(found.err, 'WRONGTYPE', 1, true) then error(found.err, 0) end
  return nil
end
