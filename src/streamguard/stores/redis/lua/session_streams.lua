-- Reads the records of a session's streams, the latest by ordinal first, a part of them at a time.
-- KEYS: session, streams
-- ARGV: what the session's meta keys begin with, its log keys, how many at most, how many to pass over
-- Reply: {OK, how many were looked at, '1' if there are more, stream id, its snapshot, …} or {CORRUPT}
-- The streams' keys share KEYS' hash tag, so they are on this node. Streams that expired may still be in the set: they are
-- looked at, and not given; neither is what is of another type.
--@include status
--@include time
--@include newer
--@include fields
--@include snapshot
local at = now()
local session = redis.call('HGET', KEYS[1], 'v')
if session and newer(session) then return {CORRUPT} end
local most = tonumber(ARGV[3])
local ids = redis.call('ZREVRANGEBYSCORE', KEYS[2], '+inf', '-inf', 'LIMIT', ARGV[4], most)
local reply = {OK, #ids, #ids == most and '1' or ''}
for _, id in ipairs(ids) do
  local found = fields(ARGV[1] .. id, 'v') and snapshot(ARGV[1] .. id, ARGV[2] .. id, at)
  if found then
    reply[#reply + 1] = id
    reply[#reply + 1] = found
  end
end
return reply
