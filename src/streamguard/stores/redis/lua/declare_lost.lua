-- Declares a stream's log lost; with a terminal record, closes it (the tombstone).
-- KEYS: meta_key, log_key, session_key, streams_key, watch_note_key (of subscribers that came before the stream),
--       erased_key, lease_shard_key
-- ARGV: epoch (or '' for the stream's first), stream_id, lease_ms, retention_ms, age_us (how long ago the stream began),
--       ends (with a terminal record), terminal (the record), seal (JSON), persisted, quota,
--       meta_prefix (what the session's meta keys begin with), lease_entry (its name in the lease index),
--       fields… (name and value of each)
-- Reply: {status, last_seq, stop}; at_ms never
-- The last key is on another slot: one server takes it too, in a cluster a step of its own follows. In a step of its own,
-- the entry could be removed from a server on which, after a failover, the stream is open again.
-- A record that is damaged, or of another type, is as good as missing; so is a log that takes no more of ours, whose
-- tombstone replaces it.
--@include status
--@include now_ms
--@include now_us
--@include extend_ttl
--@include is_newer
--@include fields
--@include reset_unless_sorted
--@include publish_change
--@include decide
--@include last_of
--@include shut
local function leave_index()
  if lease_shard_key and not reset_unless_sorted(lease_shard_key) then redis.call('ZREM', lease_shard_key, lease_entry) end
end
local at = now_ms()
local record = fields(meta_key, @version@, @epoch@, @state@, @last_seq@, @lost@, @stop@, @watched_until@, @began_us@,
  @last_writer@)
local version, stored_epoch, state, last_seq, lost, stop, watched_until, began_us, last_writer = unpack(record or {})
if version and tonumber(version) and is_newer(version) then return {CORRUPT, 0, 0} end
local whole = record ~= nil
for _, number in ipairs({version or '0', last_seq or '0', stop or '0', watched_until or '0', began_us or '0'}) do
  whole = whole and tonumber(number) ~= nil
end
local fenced = stored_epoch and ((epoch == '' and last_writer) or (epoch ~= '' and stored_epoch ~= epoch))
if not whole and not (fenced or (stored_epoch and (state == 's' or state == 'c'))) then
  redis.call('UNLINK', meta_key)
  version = false
elseif not whole then -- another worker's, or ended: not this one's to change
  return {fenced and FENCED or SEALED, 0, 0}
end
if version then
  last_seq, stop = last_of(log_key, last_seq), tonumber(stop) or 0
  if fenced then return {FENCED, last_seq, stop} end
  if state ~= 'o' then
    if state ~= 'c' or lost ~= '1' then return {SEALED, last_seq, stop} end
    if ends then leave_index() end
    return {DUPLICATE, last_seq, stop}
  end
  redis.call('HSET', meta_key, @lost@, 1, @lease_until@, at + lease_ms)
  shut(log_key, stored_epoch)
else
  local erased, at_us = redis.pcall('GET', erased_key), now_us()
  local began = at_us - age_us
  -- A mark that cannot be read says all the same that there was an erasure. An epoch says when it was issued, by this
  -- clock: the stream seems younger than it is if this was long on its way.
  local mark = erased and (tonumber(type(erased) == 'string' and erased or '') or math.huge)
  if mark and (mark >= began or (epoch ~= '' and mark >= tonumber(epoch))) then return {GONE, 0, 0} end
  local watch_note = redis.pcall('GET', watch_note_key)
  redis.call('UNLINK', log_key) -- a log that outlived its record belongs to no stream
  stored_epoch = epoch == '' and digits(at_us) or epoch
  last_seq, stop, began_us = 0, 0, digits(began)
  watched_until = type(watch_note) == 'string' and tonumber(watch_note) and watch_note
  redis.call('HSET', meta_key, @epoch@, stored_epoch, @state@, 'o', @last_seq@, 0, @lost@, 1,
    @ttl_ms@, retention_ms, @lease_until@, at + lease_ms, @version@, @FORMAT_VERSION@,
    @ordinal@, 0, @began_us@, began_us, unpack(ARGV, fields_from))
  if watched_until then redis.call('HSET', meta_key, @watched_until@, watched_until) end
end
began_us = began_us or '0'
-- `last` is the session's newest stream, and `created` says when that one began. If a later version wrote them, they are
-- not this one's to move.
local session = fields(session_key, 'last', 'created', 'active', 'v', 'ordinal')
local session_last, created, active, session_version, ordinal = unpack(session or {})
local unknown = session and not (session_version or ordinal) and redis.call('EXISTS', streams_key) == 0
if not session or (session_version and not tonumber(session_version)) then
  redis.call('UNLINK', session_key)
  session_last, created, active, session_version = nil, nil, nil, nil
end
local movable = not (session_version and is_newer(session_version))
if movable and (not session_last or (tonumber(created) or 0) <= tonumber(began_us)
  or redis.call('EXISTS', meta_prefix .. session_last) == 0) then
  redis.call('HSET', session_key, 'v', @FORMAT_VERSION@, 'last', stream_id, 'created', began_us)
  if not ends then redis.call('HSET', session_key, 'active', stream_id) end
  -- A session without one is damaged, and is begun anew by its next registration.
  if unknown then redis.call('HSET', session_key, 'ordinal', 0) end
end
if reset_unless_sorted(streams_key) then redis.call('HSET', session_key, 'lost', 1) end -- `erase` searches for the streams that no list names
redis.call('ZADD', streams_key, 'NX', 0, stream_id)
if not version and movable then forget_message(session_key, stream_id) end -- of a record of its that expired
if version and last_seq == 0 and movable then -- its first item may have decided more than was registered
  local known = {}
  for at = fields_from, #ARGV, 2 do known[ARGV[at]] = ARGV[at + 1] end
  decide(meta_key, session_key, known[@protocol@], known[@client_version@] or '', known[@message_id@], stream_id)
end
local last = last_seq
if ends then
  if active == stream_id then redis.call('HDEL', session_key, 'active') end
  -- Not NOMKSTREAM: should the log be gone altogether, its tombstone still says so, under the right number.
  local entry_id = stored_epoch .. '-' .. (last + 1)
  reopen(log_key, stored_epoch, last)
  local added = redis.pcall('XADD', log_key, entry_id, 't', terminal)
  if type(added) == 'table' and added.err then
    if not (string.find(added.err, 'WRONGTYPE', 1, true) or string.find(added.err, 'equal or smaller', 1, true)) then
      error(added.err, 0)
    end
    redis.call('UNLINK', log_key)
    redis.call('XADD', log_key, entry_id, 't', terminal)
  end
  shut(log_key, stored_epoch)
  redis.call('HSET', meta_key, @state@, 'c', @last_seq@, last + 1, @closed_ms@, at, @persisted@, persisted,
    @quota@, quota, @seal@, seal, @seal_seq@, last, @usage@, '', @held@, '')
  leave_index() -- not before: whatever kept the stream from being closed would keep it from being found
  if watched_until and tonumber(watched_until) > at then
    redis.call('PUBLISH', meta_key .. ':d',
      struct.pack('>BI8I8', stop, last + 1, tonumber(stored_epoch)) .. 't' .. struct.pack('>I4', #terminal) .. terminal)
  end
  last = last + 1
end
if ends then
  redis.call('PEXPIRE', meta_key, retention_ms)
  redis.call('PEXPIRE', log_key, retention_ms)
else
  extend_ttl(meta_key, retention_ms)
  extend_ttl(log_key, retention_ms)
end
extend_ttl(session_key, retention_ms)
extend_ttl(streams_key, retention_ms)
publish_change(meta_key, stop)
return {OK, last, stop}
