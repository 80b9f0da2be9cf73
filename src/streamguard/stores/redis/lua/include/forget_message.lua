-- Takes a stream out of the lists of which streams write which message (see `message_streams`). Returns whether it was in
-- one.
local function forget_message(session_key, id)
  local message_id = redis.call('HGET', session_key, 'i:' .. id)
  if not message_id then return false end
  local left = {}
  for _, stream in ipairs(message_streams(session_key, message_id)) do
    if stream.id ~= id then left[#left + 1] = {stream.ordinal, stream.id} end
  end
  redis.call('HDEL', session_key, 'i:' .. id)
  if #left == 0 then
    redis.call('HDEL', session_key, 'm:' .. message_id)
  else
    redis.call('HSET', session_key, 'm:' .. message_id, cjson.encode(left))
  end
  return true
end
