-- Makes a stream its session's active one, unless an unsealed stream is, and one of its owner's running ones, if there
-- is room.
-- KEYS: meta_key, log_key, session_key, streams_key, watch_note_key (of subscribers that came before the stream),
--       erased_key (the erasure mark), withdrawn_key (note of a withdrawal), stopped_key (when its session's pending
--       requests were stopped), owner_key (the owner's running streams), stops_key (the owner's sessions of which that is
--       so), lease_shard_key (its part of the lease index)
-- ARGV: stream_id, lease_ms, ttl_ms, limit (how many the owner may have, or ''),
--       arrived_us (how long ago the request arrived), full_ids (in a cluster, what has the owner's slots, when they are
--       full: a space and an id of each; else ''), lease_entry (its name in the lease index), message_id, protocol,
--       identity (JSON), further… (name and value of each further field)
-- Reply: {answer, snapshot, active_id, reset…}: {'begun', its ordinal, epoch, when it began (µs) and stop flag as one text,
--        nil, what was damaged and begun anew, …}, or that text alone if nothing was; {'registered', snapshot, nil, …} for a
--        stream that is on record,
--        {'occupied', snapshot and id of the stream in the way}, {'full', how many of full_ids are the session's and have
--        ended}, {'withdrawn'} or {'newer'}
-- The keys of the session's other streams are made here from their ids; they share KEYS' hash tag, so they are on this
-- node.
-- The last three keys do not share it. One server takes them in this script, which spares each stream a round trip; in a
-- cluster the owner's slot is taken before (see take_slot.lua), and given back after a refusal, and so is the entry in the
-- lease index.
-- Redis makes every function that a script names anew in each call: what only a rare way needs is included there.
--@include digits
--@include extend_ttl
--@include renew_ttl
--@include is_newer
--@include fields
--@include reset_unless_sorted
-- The time in µs: the epoch. Its text is put together, since to format a number of 16 digits takes Redis as long as TIME.
local seconds, microseconds = unpack(redis.call('TIME'))
local epoch = seconds .. string.sub('00000' .. microseconds, -6)
local now = tonumber(epoch)
local at = math.floor(now / 1000)
local has_log = false
local watch_note, erased, stopped
local found, oldest = {}, {}
-- Nearly always there is no key but a session's own two, and in a new session none at all: one command says so.
local existing = redis.call('EXISTS', meta_key, withdrawn_key, log_key, watch_note_key, erased_key, stopped_key,
  session_key, streams_key)
if existing > 0 then
  found = fields(session_key, 'v', 'active', 'ordinal', 'last', 'created', 'i:' .. stream_id, 'm:' .. message_id)
  oldest = redis.pcall('ZRANGE', streams_key, '0', '15')
end
local session_version, active, last_ordinal, last, created, own_message, message_listed = unpack(found or {})
if existing > (session_version and 1 or 0) + (oldest[1] and 1 or 0) then
  local known_version = redis.call('HGET', meta_key, @version@)
  if known_version then
    if is_newer(known_version) then return {'newer'} end
--@include snapshot
    return {'registered', snapshot(meta_key, log_key, at)}
  end
  if redis.call('EXISTS', withdrawn_key) == 1 then return {'withdrawn'} end
  has_log = redis.call('EXISTS', log_key) == 1
  -- To MGET a key of another type is a missing one.
  watch_note, erased, stopped = unpack(redis.call('MGET', watch_note_key, erased_key, stopped_key))
end
local function meta_of(id) return string.sub(meta_key, 1, -1 - #stream_id) .. id end
local function log_of(id) return string.sub(log_key, 1, -1 - #stream_id) .. id end
-- Whatever may be damaged is looked at before the first write: Redis takes back nothing of a script that fails.
local reset = {}
if session_version and tonumber(session_version) and is_newer(session_version) then return {'newer'} end
if active then
  local active_key = meta_of(active)
  local version, state = unpack(fields(active_key, @version@, @state@) or {})
  if tonumber(version) then -- else there is nothing of it that could be in the way
    if is_newer(version) then return {'newer'} end
--@include snapshot
    if state == 'o' then return {'occupied', snapshot(active_key, log_of(active), at), active} end
  end
end
-- How many of an owner's streams are this session's and have ended: this one takes their place while they are closed.
local function ended_among(ids)
  local ended = 0
  for _, id in ipairs(ids) do
    local state = unpack(fields(meta_of(id), @state@) or {})
    if state and state ~= 'o' then ended = ended + 1 end
  end
  return math.min(ended, @ENDED_UNCOUNTED@)
end
if full_ids ~= '' then
  local ids = {}
  for id in string.gmatch(full_ids, '%S+') do ids[#ids + 1] = id end
  return {'full', ended_among(ids)}
end
local others = owner_key and redis.pcall('ZCARD', owner_key)
if others and type(others) ~= 'number' then
  if not reset_unless_sorted(owner_key) then error(others.err, 0) end
  reset[#reset + 1], others = 'owner', 0
end
if others and not (limit and others < limit) then -- so there are never many whose leases ran out
  redis.call('ZREMRANGEBYSCORE', owner_key, '-inf', at)
end
if others and limit and others >= limit then
  others = redis.call('ZCARD', owner_key)
  if others >= limit and redis.call('ZSCORE', owner_key, stream_id) then others = others - 1 end
  if others >= limit then others = others - ended_among(redis.call('ZRANGE', owner_key, 0, -1)) end
  if others >= limit then return {'full'} end
end
local unlisted = last_ordinal and not oldest[1]
if oldest.err then
  if not reset_unless_sorted(streams_key) then error(oldest.err, 0) end
  oldest, unlisted = {}, true
end
if unlisted then reset[#reset + 1] = 'streams' end
local ordinal = (tonumber(last_ordinal) or 0) + 1
if not found or (session_version and not (tonumber(session_version) and tonumber(last_ordinal)))
  or (oldest[1] and not session_version) then -- its streams are known, but not what the hash says of them
  redis.call('UNLINK', session_key)
  reset[#reset + 1] = 'session'
  redis.call('HSET', session_key, 'unlisted', 1) -- `previous_stream` looks through the streams that are not on its list
  local latest = redis.call('ZREVRANGEBYSCORE', streams_key, '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  ordinal = math.floor(tonumber(latest[2] or '0') or 0) + 1
  session_version, own_message, message_listed = nil, nil, nil
end
if unlisted then redis.call('HSET', session_key, 'lost', 1) end -- `erase` searches for the streams that no list names
-- A stop that came after the request is meant for this stream; one that came before is forgotten.
local stop = 0
stopped = stopped and tonumber(stopped)
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
local lease_until = at + lease_ms .. ''
if lease_shard_key then
  local added = redis.pcall('ZADD', lease_shard_key, lease_until, lease_entry)
  if type(added) ~= 'number' then
    if not reset_unless_sorted(lease_shard_key) then error(added.err, 0) end
    reset[#reset + 1] = 'leases'
    redis.call('ZADD', lease_shard_key, lease_until, lease_entry)
  end
  renew_ttl(lease_shard_key, @INDEX_TTL_MS@)
end
-- It begins after any erasure, whatever became of the clock meanwhile.
local began = math.max(now, (tonumber(erased or '') or 0) + 1)
local began_us = began == now and epoch or digits(began)
local nth = digits(ordinal)
if own_message or message_listed then -- a record of its expired, or this is not the first stream of the message: see below
  redis.call('HSET', session_key, 'active', stream_id, 'v', '@FORMAT_VERSION@', 'ordinal', nth, 'last', stream_id,
    'created', began_us)
else
  local listed = '[[' .. nth .. ',"' .. stream_id .. '"]]' -- JSON: a stream's id is hex digits
  redis.call('HSET', session_key, 'active', stream_id, 'v', '@FORMAT_VERSION@', 'ordinal', nth, 'last', stream_id,
    'created', began_us, 'm:' .. message_id, listed, 'i:' .. stream_id, message_id)
end
-- The fields append reads come first: where the identity is short, Redis searches the hash from its beginning.
redis.call('HSET', meta_key, @epoch@, epoch, @state@, 'o', @last_seq@, '0', @ttl_ms@, ttl_ms, @lease_until@, lease_until,
  @version@, '@FORMAT_VERSION@', @ordinal@, nth, @began_us@, began_us, @message_id@, message_id,
  @protocol@, protocol, @identity@, identity, unpack(ARGV, further_from))
if stop == 1 then redis.call('HSET', meta_key, @stop@, 1) end
if watch_note and tonumber(watch_note) then redis.call('HSET', meta_key, @watched_until@, watch_note) end
-- What `withdraw` puts back.
if last and last ~= stream_id then
  redis.call('HSET', meta_key, @previous_last@, last, @previous_created@, created or 0)
end
redis.call('PEXPIRE', meta_key, ttl_ms)
-- What `erase` has to find. Streams that expired leave it here, a few at a time.
local records = {}
for n, id in ipairs(oldest) do records[n] = meta_of(id) end
if records[1] and redis.call('EXISTS', unpack(records)) < #records then
--@include message_streams
--@include forget_message
  for n, id in ipairs(oldest) do
    if redis.call('EXISTS', records[n]) == 0 then
      redis.call('UNLINK', log_of(id)) -- a log that outlived its record belongs to no stream
      redis.call('ZREM', streams_key, id)
      forget_message(session_key, id)
    end
  end
end
redis.call('ZADD', streams_key, nth, stream_id)
if own_message or message_listed then
--@include message_streams
--@include forget_message
--@include list_message
  forget_message(session_key, stream_id)
  list_message(session_key, message_id, ordinal, stream_id)
end
if session_version then extend_ttl(session_key, ttl_ms) else redis.call('PEXPIRE', session_key, ttl_ms) end
if oldest[1] then extend_ttl(streams_key, ttl_ms) else redis.call('PEXPIRE', streams_key, ttl_ms) end
if owner_key then
  redis.call('ZADD', owner_key, lease_until, stream_id)
  if others > 0 then renew_ttl(owner_key, @OWNER_TTL_MS@) else redis.call('PEXPIRE', owner_key, '@OWNER_TTL_MS@') end
end
if has_log then
--@include snapshot
  return {'registered', snapshot(meta_key, log_key, at), false, unpack(reset)}
end
-- Everything else of the record is what its writer has just sent. A text: of a table Redis asks first whether it is an
-- error, a status or a map, for 6,000 instructions.
local begun = nth .. ' ' .. epoch .. ' ' .. began_us .. ' ' .. stop
if not reset[1] then return begun end
return {'begun', begun, false, unpack(reset)}
