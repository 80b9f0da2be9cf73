-- Makes a stream its session's active one, unless an unsealed stream is, and one of its owner's running ones, if there
-- is room.
-- KEYS: meta, log, session, streams, note of who watched before, owner, erasure mark, note of a withdrawal, when
--       its session's coming answers were stopped, the owner's sessions of which that is so
-- ARGV: what the session's meta keys begin with, its log keys, stream id, lease (ms), TTL (ms),
--       how many the owner may have or '', the owner's TTL (ms), how long ago the request arrived (µs), then the
--       identity fields as name and value pairs
-- Reply: {OK, snapshot, what was damaged and begun anew, …}, {'full'}, {'withdrawn'}, {LEASED, id and snapshot of the
--        stream in the way} or {CORRUPT}
-- The active stream's keys are made here from its id; they share KEYS' hash tag, so they are on this node.
-- The owner's key does not share it. One server takes both in one script, which spares each stream a round trip; a
-- cluster would refuse that, and needs the owner's slot taken in a step of its own before, and given back after a
-- refusal.
--@include status
--@include time
--@include stamp
--@include extend
--@include newer
--@include fields
--@include mapped
--@include unmap
--@include sorted
--@include snapshot
local at = now()
local known = redis.call('HGET', KEYS[1], 'v')
if known then
  if newer(known) then return {CORRUPT} end
  return {OK, snapshot(KEYS[1], KEYS[2], at)}
end
if redis.call('EXISTS', KEYS[8]) == 1 then return {'withdrawn'} end
-- Whatever may be damaged is looked at before the first write: Redis takes back nothing of a script that fails.
local early = redis.pcall('GET', KEYS[5])
early = type(early) == 'string' and tonumber(early) or 0
local anew = {}
local session = fields(KEYS[3], 'v', 'active', 'ordinal', 'last', 'created')
if session and session[1] and tonumber(session[1]) and newer(session[1]) then return {CORRUPT} end
local active = session and session[2]
if active then
  local meta = ARGV[1] .. active
  local found = fields(meta, 'v', 's')
  if found and tonumber(found[1] or '') then -- else there is nothing of it that could be in the way
    if newer(found[1]) then return {CORRUPT} end
    if found[2] == 'o' then return {LEASED, active, snapshot(meta, ARGV[2] .. active, at)} end
  end
end
if mended(KEYS[6]) then anew[#anew + 1] = 'owner' end
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', at)
if ARGV[6] ~= '' then
  local limit, others = tonumber(ARGV[6]), redis.call('ZCARD', KEYS[6])
  if redis.call('ZSCORE', KEYS[6], ARGV[3]) then others = others - 1 end
  if others >= limit then -- this one takes the place of its session's that have ended, and are still being closed
    local ended = 0
    for _, id in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
      local found = fields(ARGV[1] .. id, 's')
      if found and found[1] and found[1] ~= 'o' then ended = ended + 1 end
    end
    others = others - math.min(ended, @ENDED_UNCOUNTED@)
  end
  if others >= limit then return {'full'} end
end
local unlisted = mended(KEYS[4]) or (session and session[3] and redis.call('EXISTS', KEYS[4]) == 0)
if unlisted then anew[#anew + 1] = 'streams' end
if not session or (session[1] and not (tonumber(session[1]) and tonumber(session[3] or ''))) then
  redis.call('UNLINK', KEYS[3])
  anew[#anew + 1] = 'session'
  redis.call('HSET', KEYS[3], 'unlisted', 1) -- `previous` looks through the streams that are not on its list
  local latest = redis.call('ZREVRANGEBYSCORE', KEYS[4], '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  redis.call('HSET', KEYS[3], 'ordinal', math.floor(tonumber(latest[2] or '0') or 0))
end
if unlisted then redis.call('HSET', KEYS[3], 'lost', 1) end -- `erase` searches for the streams that nobody names
-- A stop that came after the request is meant for this stream; one that came before is forgotten.
local stop, stopped = 0, redis.pcall('GET', KEYS[9])
stopped = type(stopped) == 'string' and tonumber(stopped)
if stopped and stamp() - ARGV[8] < stopped then
  stop = 1
elseif stopped then
  redis.call('DEL', KEYS[9])
  if not mended(KEYS[10]) then redis.call('ZREM', KEYS[10], KEYS[9]) end
end
local epoch, erased = stamp(), redis.pcall('GET', KEYS[7])
-- It begins after any erasure, whatever became of the clock meanwhile.
local began = math.max(epoch, (tonumber(type(erased) == 'string' and erased or '') or 0) + 1)
local ordinal = redis.call('HINCRBY', KEYS[3], 'ordinal', 1)
redis.call('HSET', KEYS[3], 'v', @FORMAT_VERSION@, 'active', ARGV[3], 'last', ARGV[3], 'created', digits(began))
-- The fields append reads come first: Redis searches a small hash from its beginning.
redis.call('HSET', KEYS[1], 'e', digits(epoch), 's', 'o', 'n', 0, 'x', 0, 'p', stop,
  'w', early, 't', ARGV[5], 'd', at + ARGV[4],
  'v', @FORMAT_VERSION@, 'o', ordinal, 'c', digits(began), 'y', 'not_asked', 'q', 'none', unpack(ARGV, 9))
-- What `withdraw` puts back.
if session and session[4] and session[4] ~= ARGV[3] then
  redis.call('HSET', KEYS[1], 'pl', session[4], 'pc', session[5] or 0)
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
-- What `erase` has to find. Streams that expired leave it here, a few at a time.
for _, id in ipairs(redis.call('ZRANGE', KEYS[4], 0, 15)) do
  if redis.call('EXISTS', ARGV[1] .. id) == 0 then
    redis.call('UNLINK', ARGV[2] .. id) -- nobody could name a log that outlived its record
    redis.call('ZREM', KEYS[4], id)
    unmap(KEYS[3], id)
  end
end
redis.call('ZADD', KEYS[4], ordinal, ARGV[3])
local writing = mapped(KEYS[3], ARGV[10])
writing[#writing + 1] = {ordinal, ARGV[3]}
if #writing > @STREAMS_OF_A_MESSAGE@ then table.remove(writing, 1) end
redis.call('HSET', KEYS[3], 'm:' .. ARGV[10], cjson.encode(writing), 'i:' .. ARGV[3], ARGV[10])
extend(KEYS[3], ARGV[5])
extend(KEYS[4], ARGV[5])
redis.call('ZADD', KEYS[6], at + ARGV[4], ARGV[3])
extend(KEYS[6], ARGV[7])
return {OK, snapshot(KEYS[1], KEYS[2], at), unpack(anew)}
