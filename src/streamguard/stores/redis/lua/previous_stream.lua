-- Finds the latest earlier stream of a session with a message id, by ordinal.
-- KEYS: meta_key, streams_key, session_key, still_key (see keys.py)
-- ARGV: stream_id, message_id, meta_prefix (what the session's meta keys begin with), log_prefix (its log keys)
-- Reply: {stream_id, snapshot} or nil
-- The streams' keys share KEYS' hash tag, so they are on this node. Looks through all streams of a session only where the
-- session's own list of them is not whole: it was damaged and begun anew, or a later version wrote it. There a record of a
-- later version is given too: it may be the one. A damaged record is passed over.
--@include now_ms
--@include is_newer
--@include fields
--@include message_streams
--@include snapshot
local own_ordinal = redis.call('HGET', meta_key, @ordinal@)
local registered = own_ordinal and own_ordinal ~= '0'
local session = fields(session_key, 'v', 'unlisted')
local session_version, unlisted = unpack(session or {})
if session and not unlisted and (not session_version or (tonumber(session_version) and not is_newer(session_version))) then
  local streams = message_streams(session_key, message_id)
  for at = #streams, 1, -1 do
    local stream = streams[at]
    local meta_of_it = meta_prefix .. stream.id
    if stream.id ~= stream_id and not (registered and stream.ordinal >= tonumber(own_ordinal)) then
      local found = fields(meta_of_it, @version@) and snapshot(meta_of_it, log_prefix .. stream.id, now_ms())
      if found then return {stream.id, found} end
    end
  end
  return false
end
for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', streams_key, registered and '(' .. own_ordinal or '+inf', '(0')) do
  local version, its_message_id = unpack(fields(meta_prefix .. id, @version@, @message_id@) or {})
  if tonumber(version) and id ~= stream_id and (its_message_id == message_id or is_newer(version)) then
    return {id, snapshot(meta_prefix .. id, log_prefix .. id, now_ms())}
  end
end
return false
