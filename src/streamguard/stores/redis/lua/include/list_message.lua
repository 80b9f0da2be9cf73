-- Puts a stream on the list of those that write a message (see `message_streams`).
local function list_message(session_key, message_id, ordinal, id)
  local writers, place = {}, 1
  for at, stream in ipairs(message_streams(session_key, message_id)) do
    writers[at] = {stream.ordinal, stream.id}
    if stream.ordinal < tonumber(ordinal) then place = at + 1 end
  end
  table.insert(writers, place, {tonumber(ordinal), id})
  if #writers > @STREAMS_OF_A_MESSAGE@ then table.remove(writers, 1) end
  redis.call('HSET', session_key, 'm:' .. message_id, cjson.encode(writers), 'i:' .. id, message_id)
end
