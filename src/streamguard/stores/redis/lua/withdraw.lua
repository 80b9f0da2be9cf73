-- Takes back a registration that no worker acted on, and refuses it for a while should it arrive only now.
-- KEYS: meta_key, log_key, session_key, streams_key, watch_note_key (of subscribers that came before the stream),
--       withdrawn_key (note of the withdrawal), lease_shard_key, owner_key
-- ARGV: stream_id, refuse_ms (how long to refuse it), lease_entry (its name in the lease index)
-- Reply: OK, GONE (no such stream; refused all the same), FENCED (something became of it: nothing was changed) or CORRUPT
-- The last two keys are on other slots: in a cluster a step of their own follows. In a step of its own, the lease's entry
-- could be removed from a server on which, after a failover, the stream is open again.
--@include status
--@include is_newer
--@include fields
--@include message_streams
--@include forget_message
--@include reset_unless_sorted
--@include publish_change
local version, state, last_seq, lost, last_writer, previous_last, previous_created = unpack(redis.call('HMGET', meta_key,
  @version@, @state@, @last_seq@, @lost@, @last_writer@, @previous_last@, @previous_created@))
local session = fields(session_key, 'v', 'active', 'last', 'lost', 'unlisted')
local session_version, active, last, streams_lost, unlisted = unpack(session or {})
if version then
  if is_newer(version) or (tonumber(session_version) and is_newer(session_version)) then return CORRUPT end
  if state ~= 'o' or last_seq ~= '0' or lost == '1' or last_writer then return FENCED end
end
redis.call('SET', withdrawn_key, '1', 'PX', refuse_ms)
if owner_key and not reset_unless_sorted(owner_key) then redis.call('ZREM', owner_key, stream_id) end
if not version then return GONE end
if lease_shard_key and not reset_unless_sorted(lease_shard_key) then redis.call('ZREM', lease_shard_key, lease_entry) end
redis.call('UNLINK', meta_key, log_key, watch_note_key)
if not reset_unless_sorted(streams_key) then redis.call('ZREM', streams_key, stream_id) end
if session then
  if active == stream_id then redis.call('HDEL', session_key, 'active') end
  if last == stream_id then
    if previous_last then
      redis.call('HSET', session_key, 'last', previous_last, 'created', previous_created)
    else
      redis.call('HDEL', session_key, 'last', 'created')
    end
  end
  forget_message(session_key, stream_id)
  local first = not previous_last and not (streams_lost or unlisted) and (not last or last == stream_id)
  if first and redis.call('EXISTS', streams_key) == 0 then redis.call('UNLINK', session_key) end
end
publish_change(meta_key, 0)
return OK
