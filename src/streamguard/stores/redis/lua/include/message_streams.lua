-- The streams of a session that write a message, by ordinal and id, the latest last.
-- In the session's hash, `m:<message id>` lists them as JSON, {ordinal, stream id} each, and `i:<stream id>` is a stream's
-- message id: so no script looks through all streams of the session. A field that is no such list counts as none.
local function message_streams(session_key, message_id)
  local found = redis.call('HGET', session_key, 'm:' .. message_id)
  local read, list = pcall(cjson.decode, found or '[]')
  if not read or type(list) ~= 'table' then return {} end
  local streams = {}
  for at, pair in ipairs(list) do
    if type(pair) ~= 'table' or not tonumber(pair[1]) or type(pair[2]) ~= 'string' then return {} end
    streams[at] = {ordinal = tonumber(pair[1]), id = pair[2]}
  end
  return streams
end
