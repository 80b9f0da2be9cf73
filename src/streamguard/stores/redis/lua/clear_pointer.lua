-- Clears a session's active pointer, if it points to a stream of which there is nothing left to end.
-- KEYS: meta_key, log_key, session_key
-- ARGV: stream_id, unreadable (what is there cannot be read: then it keeps no other stream out)
-- Reply: 1 cleared, 0 otherwise
--@include is_newer
--@include fields
local active = unpack(fields(session_key, 'active') or {})
if active ~= stream_id then return 0 end
local version, last_seq, lost = unpack(fields(meta_key, @version@, @last_seq@, @lost@) or {})
if version and tonumber(version) and is_newer(version) then return 0 end
if version and not unreadable then
  if last_seq == '0' or lost == '1' or redis.call('EXISTS', log_key) == 1 then return 0 end
end
redis.call('HDEL', session_key, 'active')
return 1
