-- Reads the records of a session's streams, the latest by ordinal first.
-- KEYS: session, streams
-- ARGV: what the session's meta keys begin with, its log keys, how many at most
-- Reply: {OK, stream id, its snapshot, …} or {CORRUPT}
-- The streams' keys share KEYS' hash tag, so they are on this node. Streams that expired may still be in the set.
--@include status
--@include time
--@include newer
--@include snapshot
local at = now()
local session = redis.call('HGET', KEYS[1], 'v')
if session and newer(session) then return {CORRUPT} end
local reply = {OK}
local left = tonumber(ARGV[3])
for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[2], '+inf', '-inf')) do
  if left <= 0 then break end
  local found = snapshot(ARGV[1] .. id, ARGV[2] .. id, at)
  if found then
    reply[#reply + 1] = id
    reply[#reply + 1] = found
    left = left - 1
  end
end
return reply
