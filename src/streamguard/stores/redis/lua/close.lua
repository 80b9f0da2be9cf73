-- Writes a sealed stream's last events and its terminal record, and closes it.
-- KEYS: meta_key, log_key, session_key, streams_key, lease_shard_key, owner_key
-- ARGV: epoch, stream_id, retention_ms, persisted, quota, has_payload, payload (of the outbox),
--       standing_seal (the seal it belongs to: last event, JSON, usage and held parts, joined by |; or '' for whichever
--       stands), new_last (with the next three, a seal under which an open stream is sealed in this same step: last
--       event, JSON, usage and held parts; '' to close what is sealed), new_seal, new_usage, new_held, lease_entry (its
--       name in the lease index), events… (kind and payload of each, the terminal record last)
-- Reply: {status, last_seq, stop}; at_ms never
-- The last two keys are on other slots: one server takes them too, in a cluster a step of their own follows.
-- A log that takes no more of ours (it is of another type, or somebody else wrote to it) is lost: it is removed, and the
-- terminal record alone is there in its place.
--@include status
--@include now_ms
--@include extend_ttl
--@include is_newer
--@include fields
--@include remove_member
--@include publish_change
--@include last_of
--@include shut
local version, stored_epoch, state, last_seq, lost, stop, watched_until, seal_seq, seal, usage, held =
  unpack(redis.call('HMGET', meta_key, @version@, @epoch@, @state@, @last_seq@, @lost@, @stop@, @watched_until@,
    @seal_seq@, @seal@, @usage@, @held@))
if not version then return {GONE, 0, 0} end
if is_newer(version) then return {CORRUPT, 0, 0} end
local last, at = tonumber(last_seq), now_ms()
stop = tonumber(stop)
if stored_epoch ~= epoch then return {FENCED, last, stop} end
if state == 'c' then return {DUPLICATE, last, stop} end
local sealing = new_last ~= ''
if sealing then -- the usual end: whatever else is found, the caller asks step by step what stands in its way
  if state ~= 'o' or lost ~= '0' or last_of(log_key, last) ~= tonumber(new_last) then
    return {NOT_SEALED, last, stop}
  end
  last, state = tonumber(new_last), 's'
  redis.call('HSET', meta_key, @state@, 's', @last_seq@, new_last, @seal@, new_seal, @seal_seq@, new_last, @usage@,
    new_usage, @held@, new_held)
end
if state == 'o' then return {NOT_SEALED, last, stop} end
local standing = (seal_seq or '') .. '|' .. (seal or '') .. '|' .. (usage or '') .. '|' .. (held or '')
if standing_seal ~= '' and standing ~= standing_seal then return {NOT_SEALED, last, stop} end
local hint = {struct.pack('>BI8I8', stop, last + 1, tonumber(epoch))}
local before, damaged = last, false
reopen(log_key, epoch, last) -- also before this step sealed it: a stop, or somebody who watches, shuts it
for i = events_from, #ARGV, 2 do
  local kind, data = ARGV[i], ARGV[i + 1]
  last = last + 1
  local added
  if last == 1 then
    added = redis.pcall('XADD', log_key, epoch .. '-1', kind, data)
  else
    added = redis.pcall('XADD', log_key, 'NOMKSTREAM', epoch .. '-' .. last, kind, data)
  end
  if not added then
    if sealing then publish_change(meta_key, stop) end
    return {GONE, 0, stop}
  end
  if type(added) == 'table' and added.err then
    if not (string.find(added.err, 'WRONGTYPE', 1, true) or string.find(added.err, 'equal or smaller', 1, true)) then
      shut(log_key, epoch)
      error(added.err, 0)
    end
    damaged = true
    break
  end
  hint[#hint + 1] = kind .. struct.pack('>I4', #data)
  hint[#hint + 1] = data
end
if damaged then
  last = before + 1
  redis.call('UNLINK', log_key)
  redis.call('XADD', log_key, epoch .. '-' .. last, ARGV[#ARGV - 1], ARGV[#ARGV])
  redis.call('HSET', meta_key, @lost@, 1)
  hint = {struct.pack('>BI8I8', stop, 0, 0)}
end
shut(log_key, epoch)
redis.call('HSET', meta_key, @state@, 'c', @last_seq@, last, @closed_ms@, at, @persisted@, persisted, @quota@, quota,
  @ttl_ms@, retention_ms)
if has_payload then redis.call('HSET', meta_key, @payload@, payload) end
local session = fields(session_key, 'active')
if session and session[1] == stream_id then redis.call('HDEL', session_key, 'active') end
if lease_shard_key then remove_member(lease_shard_key, lease_entry) end
if owner_key then remove_member(owner_key, stream_id) end
redis.call('PEXPIRE', meta_key, retention_ms)
redis.call('PEXPIRE', log_key, retention_ms)
extend_ttl(session_key, retention_ms)
extend_ttl(streams_key, retention_ms)
if tonumber(watched_until) > at then redis.call('PUBLISH', meta_key .. ':d', table.concat(hint)) end
publish_change(meta_key, stop)
return {OK, last, stop}
