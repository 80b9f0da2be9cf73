-- Writes a sealed stream's last events and its terminal record, and closes it.
-- KEYS: meta_key, log_key, session_key, streams_key, lease_shard_key, owner_key
-- ARGV: epoch, stream_id, retention_ms, persisted, quota, has_payload, payload (of the outbox),
--       standing_seal (the seal it belongs to: last event, JSON, usage and held parts, joined by |; or '' for whichever
--       stands), new_last (with the next three, a seal under which an open stream is sealed in this same step: last
--       event, JSON, usage and held parts; '' to close what is sealed), new_seal, new_usage, new_held, log_last (where
--       the log ends: with events that its writer appends in this same step, before new_last), until_ms (until when
--       those may be added, on this server's clock; or ''), lease_entry (its name in the lease index), events… (kind and
--       payload of each: those of the writer, those that end the stream, the terminal record last)
-- Reply: {status, last_seq, stop}, and at_ms where the writer's events came too late; last_seq alone for OK without a
-- stop. With events of the writer, what is neither OK nor DUPLICATE has changed nothing.
-- The last two keys are on other slots: one server takes them too, in a cluster a step of their own follows.
-- A log that takes no more of ours (it is of another type, or somebody else wrote to it) is lost: it is removed, and the
-- terminal record alone is there in its place.
--@include status
--@include extend_ttl
--@include is_newer
--@include remove_member
--@include publish_change
--@include shut
local version, stored_epoch, state, last_seq, lost, stop, watched_until, usage, ttl_ms, last_writer,
  known_persisted, known_quota =
  unpack(redis.call('HMGET', meta_key, @version@, @epoch@, @state@, @last_seq@, @lost@, @stop@, @watched_until@, @usage@,
    @ttl_ms@, @last_writer@, @persisted@, @quota@))
if not version then return {GONE, 0, 0} end
if is_newer(version) then return {CORRUPT, 0, 0} end
local last = tonumber(last_seq)
-- The time in ms, as text: to make a number of it, and a text of that, takes Redis as long as TIME.
local seconds, microseconds = unpack(redis.call('TIME'))
local at = seconds .. string.sub('00000' .. microseconds, -6, -4)
stop = tonumber(stop) or 0
if stored_epoch ~= epoch then return {FENCED, last, stop} end
if state == 'c' then return {DUPLICATE, last, stop} end
local sealing = new_last ~= ''
if sealing then -- the usual end: whatever else is found, the caller asks step by step what stands in its way
  if state ~= 'o' or lost == '1' then return {NOT_SEALED, last, stop} end
  if until_ms ~= '' and tonumber(at) >= tonumber(until_ms) then return {NOT_SEALED, last, stop, tonumber(at)} end
  if log_last ~= last_seq then -- else the first XADD says whether the log has more
--@include last_of
    if last_of(log_key, last) ~= tonumber(log_last) then return {NOT_SEALED, last, stop} end
  end
  last, state = tonumber(log_last), 's'
end
if state == 'o' then return {NOT_SEALED, last, stop} end
if standing_seal ~= '' then
  local seal_seq, seal, held = unpack(redis.call('HMGET', meta_key, @seal_seq@, @seal@, @held@))
  local standing = (seal_seq or '') .. '|' .. (seal or '') .. '|' .. (usage or '') .. '|' .. (held or '')
  if standing ~= standing_seal then return {NOT_SEALED, last, stop} end
end
local ending = {} -- fields of the record
if sealing then
  ending = {@seal@, new_seal, @seal_seq@, new_last}
  if new_usage ~= (usage or '') then ending[5], ending[6] = @usage@, new_usage end
  if new_held ~= '' then ending[#ending + 1], ending[#ending + 2] = @held@, new_held end
end
local function add(seq, kind, data)
  if seq == 1 then return redis.pcall('XADD', log_key, epoch .. '-1', kind, data) end
  return redis.pcall('XADD', log_key, 'NOMKSTREAM', epoch .. '-' .. seq, kind, data)
end
local function is_refused(added)
  return type(added) == 'table' and string.find(added.err, 'equal or smaller', 1, true)
end
local watched = watched_until and tonumber(watched_until) > tonumber(at)
local hint = watched and {struct.pack('>BI8I8', stop, last + 1, tonumber(epoch))}
local before, damaged = last, false
local appending = sealing and log_last ~= new_last
if not sealing then reopen(log_key, epoch, last) end -- the seal has shut it
for i = events_from, #ARGV, 2 do
  local kind, data = ARGV[i], ARGV[i + 1]
  last = last + 1
  local added = add(last, kind, data)
  if sealing and last == before + 1 and is_refused(added) then
    -- The log has more events than the record told; or a stop, or somebody who watches, has shut it.
--@include last_of
    if last_of(log_key, before) ~= before then return {NOT_SEALED, before, stop} end
    reopen(log_key, epoch, before)
    added = add(last, kind, data)
  end
  if not added then
    if appending then return {NOT_SEALED, before, stop} end -- with the first one
    if sealing then
      redis.call('HSET', meta_key, @state@, 's', @last_seq@, new_last, unpack(ending))
      publish_change(meta_key, stop)
    end
    return {GONE, 0, stop}
  end
  if type(added) == 'table' and added.err then
    if appending and last == before + 1 then
      shut(log_key, epoch) -- it may have been opened just now
      return {NOT_SEALED, before, stop}
    end
    if not (is_refused(added) or string.find(added.err, 'WRONGTYPE', 1, true)) then
      shut(log_key, epoch)
      error(added.err, 0)
    end
    damaged = true
    break
  end
  if watched then
    hint[#hint + 1] = kind .. struct.pack('>I4', #data)
    hint[#hint + 1] = data
  end
end
if damaged then
  last = before + 1
  redis.call('UNLINK', log_key)
  redis.call('XADD', log_key, epoch .. '-' .. last, ARGV[#ARGV - 1], ARGV[#ARGV])
  redis.call('HSET', meta_key, @lost@, 1)
  hint = watched and {struct.pack('>BI8I8', stop, 0, 0)}
end
shut(log_key, epoch)
-- What a record does not say of saving and of the quota is that there is none of it: see codec.py.
if persisted ~= (known_persisted or 'not_asked') then ending[#ending + 1], ending[#ending + 2] = @persisted@, persisted end
if quota ~= (known_quota or 'none') then ending[#ending + 1], ending[#ending + 2] = @quota@, quota end
redis.call('HSET', meta_key, @state@, 'c', @last_seq@, string.format('%d', last), @closed_ms@, at, unpack(ending))
if has_payload then redis.call('HSET', meta_key, @payload@, payload) end
-- A session's key of another type has no such pointer.
if redis.pcall('HGET', session_key, 'active') == stream_id then redis.call('HDEL', session_key, 'active') end
if lease_shard_key then remove_member(lease_shard_key, lease_entry) end
if owner_key then remove_member(owner_key, stream_id) end
-- A registration, at the time of its epoch, gave all four keys so long to live that an end soon after finds enough left,
-- and no more than a fiftieth too much; heartbeats since gave what the record says. (A log that this script made has no TTL
-- yet.)
local left, kept = 0, tonumber(retention_ms)
if before > 0 and not damaged and not last_writer then left = epoch / 1000 + (tonumber(ttl_ms) or 0) - at end
if left < kept or left > kept * 1.02 then
  redis.call('PEXPIRE', meta_key, retention_ms)
  redis.call('PEXPIRE', log_key, retention_ms)
  extend_ttl(session_key, retention_ms)
  extend_ttl(streams_key, retention_ms)
end
if watched then redis.call('PUBLISH', meta_key .. ':d', table.concat(hint)) end
publish_change(meta_key, stop)
if stop == 0 then return last end
return {OK, last, stop}
