-- Takes a stream out of the lists of which streams write which message (see `mapped`).
local function unmap(session, id)
  local message = redis.call('HGET', session, 'i:' .. id)
  if not message then return end
  local left = {}
  for _, one in ipairs(mapped(session, message)) do
    if one[2] ~= id then left[#left + 1] = one end
  end
  redis.call('HDEL', session, 'i:' .. id)
  if #left == 0 then
    redis.call('HDEL', session, 'm:' .. message)
  else
    redis.call('HSET', session, 'm:' .. message, cjson.encode(left))
  end
end
