-- Makes a stream its session's active one, unless an unsealed stream is, and one of its owner's running ones, if there
-- is room.
-- KEYS: meta_key, log_key, session_key, streams_key, watch_note_key (of subscribers that came before the stream),
--       erased_key (the erasure mark), withdrawn_key (note of a withdrawal), stopped_key (when its session's pending
--       requests were stopped), owner_key (the owner's running streams), stops_key (the owner's sessions of which that is
--       so), lease_shard_key (its part of the lease index)
-- ARGV: meta_prefix (what the session's meta keys begin with), log_prefix (its log keys), stream_id, lease_ms, ttl_ms,
--       limit (how many the owner may have, or ''), owner_ttl_ms, arrived_us (how long ago the request arrived),
--       full_ids (in a cluster, what has the owner's slots, when they are full: a space and
--       an id of each; else ''), lease_entry (its name in the lease index), index_ttl_ms, message_id,
--       identity… (name and value of each field)
-- Reply: {answer, snapshot, active_id, reset…}: {'begun', {ordinal, epoch, when it began (µs), stop flag, the time (ms)},
--        nil, what was damaged and begun anew, …}, {'registered', snapshot, nil, …} for a stream that is on record,
--        {'occupied', snapshot and id of the stream in the way}, {'full', how many of full_ids are the session's and have
--        ended}, {'withdrawn'} or {'newer'}
-- The active stream's keys are made here from its id; they share KEYS' hash tag, so they are on this node.
-- The last three keys do not share it. One server takes them in this script, which spares each stream a round trip; in a
-- cluster the owner's slot is taken before (see take_slot.lua), and given back after a refusal, and so is the entry in the
-- lease index.
--@include now_us
--@include extend_ttl
--@include is_newer
--@include fields
--@include message_streams
--@include forget_message
--@include list_message
--@include reset_unless_sorted
--@include snapshot
local now = now_us()
local at = math.floor(now / 1000)
local known_version = redis.call('HGET', meta_key, @version@)
if known_version then
  if is_newer(known_version) then return {'newer'} end
  return {'registered', snapshot(meta_key, log_key, at)}
end
if redis.call('EXISTS', withdrawn_key) == 1 then return {'withdrawn'} end
-- Whatever may be damaged is looked at before the first write: Redis takes back nothing of a script that fails.
local watch_note = redis.pcall('GET', watch_note_key)
local watched_until = type(watch_note) == 'string' and tonumber(watch_note) or 0
local reset = {}
local session = fields(session_key, 'v', 'active', 'ordinal', 'last', 'created')
local session_version, active, last_ordinal, last, created = unpack(session or {})
if session_version and tonumber(session_version) and is_newer(session_version) then return {'newer'} end
if active then
  local active_key = meta_prefix .. active
  local version, state = unpack(fields(active_key, @version@, @state@) or {})
  if tonumber(version) then -- else there is nothing of it that could be in the way
    if is_newer(version) then return {'newer'} end
    if state == 'o' then return {'occupied', snapshot(active_key, log_prefix .. active, at), active} end
  end
end
-- How many of an owner's streams are this session's and have ended: this one takes their place while they are closed.
local function ended_among(ids)
  local ended = 0
  for _, id in ipairs(ids) do
    local state = unpack(fields(meta_prefix .. id, @state@) or {})
    if state and state ~= 'o' then ended = ended + 1 end
  end
  return math.min(ended, @ENDED_UNCOUNTED@)
end
if full_ids ~= '' then
  local ids = {}
  for id in string.gmatch(full_ids, '%S+') do ids[#ids + 1] = id end
  return {'full', ended_among(ids)}
end
if owner_key then
  if reset_unless_sorted(owner_key) then reset[#reset + 1] = 'owner' end
  redis.call('ZREMRANGEBYSCORE', owner_key, '-inf', at)
end
if owner_key and limit then
  local others = redis.call('ZCARD', owner_key)
  if others >= limit and redis.call('ZSCORE', owner_key, stream_id) then others = others - 1 end
  if others >= limit then others = others - ended_among(redis.call('ZRANGE', owner_key, 0, -1)) end
  if others >= limit then return {'full'} end
end
local unlisted = reset_unless_sorted(streams_key) or (last_ordinal and redis.call('EXISTS', streams_key) == 0)
if unlisted then reset[#reset + 1] = 'streams' end
if not session or (session_version and not (tonumber(session_version) and tonumber(last_ordinal))) then
  redis.call('UNLINK', session_key)
  reset[#reset + 1] = 'session'
  redis.call('HSET', session_key, 'unlisted', 1) -- `previous_stream` looks through the streams that are not on its list
  local latest = redis.call('ZREVRANGEBYSCORE', streams_key, '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  redis.call('HSET', session_key, 'ordinal', math.floor(tonumber(latest[2] or '0') or 0))
end
if unlisted then redis.call('HSET', session_key, 'lost', 1) end -- `erase` searches for the streams that no list names
-- A stop that came after the request is meant for this stream; one that came before is forgotten.
local stop, stopped = 0, redis.pcall('GET', stopped_key)
stopped = type(stopped) == 'string' and tonumber(stopped)
if stopped and now - arrived_us < stopped then
  stop = 1
elseif stopped then
  redis.call('DEL', stopped_key)
  if not stops_key then
    reset[#reset + 1] = 'stops' -- for the caller to do
  elseif not reset_unless_sorted(stops_key) then
    redis.call('ZREM', stops_key, stopped_key)
  end
end
if lease_shard_key then
  if reset_unless_sorted(lease_shard_key) then reset[#reset + 1] = 'leases' end
  redis.call('ZADD', lease_shard_key, at + lease_ms, lease_entry)
  extend_ttl(lease_shard_key, index_ttl_ms)
end
local epoch, erased = now, redis.pcall('GET', erased_key)
-- It begins after any erasure, whatever became of the clock meanwhile.
local began = math.max(epoch, (tonumber(type(erased) == 'string' and erased or '') or 0) + 1)
local ordinal = redis.call('HINCRBY', session_key, 'ordinal', 1)
redis.call('HSET', session_key, 'v', @FORMAT_VERSION@, 'active', stream_id, 'last', stream_id, 'created', digits(began))
-- The fields append reads come first: Redis searches a small hash from its beginning.
redis.call('HSET', meta_key, @epoch@, digits(epoch), @state@, 'o', @last_seq@, 0, @lost@, 0, @stop@, stop,
  @watched_until@, watched_until, @ttl_ms@, ttl_ms, @lease_until@, at + lease_ms,
  @version@, @FORMAT_VERSION@, @ordinal@, ordinal, @began_us@, digits(began), @persisted@, 'not_asked', @quota@, 'none',
  @message_id@, message_id, unpack(ARGV, identity_from))
-- What `withdraw` puts back.
if last and last ~= stream_id then
  redis.call('HSET', meta_key, @previous_last@, last, @previous_created@, created or 0)
end
redis.call('PEXPIRE', meta_key, ttl_ms)
-- What `erase` has to find. Streams that expired leave it here, a few at a time.
for _, id in ipairs(redis.call('ZRANGE', streams_key, 0, 15)) do
  if redis.call('EXISTS', meta_prefix .. id) == 0 then
    redis.call('UNLINK', log_prefix .. id) -- a log that outlived its record belongs to no stream
    redis.call('ZREM', streams_key, id)
    forget_message(session_key, id)
  end
end
redis.call('ZADD', streams_key, ordinal, stream_id)
forget_message(session_key, stream_id) -- of a record of its that expired
list_message(session_key, message_id, ordinal, stream_id)
extend_ttl(session_key, ttl_ms)
extend_ttl(streams_key, ttl_ms)
if owner_key then
  redis.call('ZADD', owner_key, at + lease_ms, stream_id)
  extend_ttl(owner_key, owner_ttl_ms)
end
if redis.call('EXISTS', log_key) == 1 then
  return {'registered', snapshot(meta_key, log_key, at), false, unpack(reset)}
end
-- Everything else of the record is what its writer has just sent.
return {'begun', {ordinal, digits(epoch), digits(began), stop, at}, false, unpack(reset)}
