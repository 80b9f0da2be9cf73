-- Takes in what a stream's first item decided about it. The session's hash is looked at before the record is changed.
-- Returns whether that may be a new one, which has no TTL yet.
--@include message_streams
--@include forget_message
--@include list_message
local function decide(meta_key, session_key, protocol, client_version, message_id, id)
  local is_new = false
  local ordinal, known_id = unpack(redis.call('HMGET', meta_key, @ordinal@, @message_id@))
  if known_id ~= message_id and (tonumber(ordinal) or 0) > 0 then
    is_new = not forget_message(session_key, id)
    list_message(session_key, message_id, ordinal, id)
  end
  redis.call('HSET', meta_key, @protocol@, protocol, @client_version@, client_version, @message_id@, message_id)
  return is_new
end
