-- Deletes every stream of a session and leaves the erasure mark.
-- KEYS: session, streams, erasure mark
-- ARGV: what the session's meta keys begin with, its log keys, the mark's lifetime (ms), that of the mark of a session
--       of which nothing is known (ms)
-- Reply: {OK, stream id, …: those deleted} or {CORRUPT}, and then nothing was
-- The streams' keys share KEYS' hash tag, so they are on this node.
--@include status
--@include time
--@include newer
--@include tell
local session = redis.call('HGET', KEYS[1], 'v')
if session and newer(session) then return {CORRUPT} end
local ids = redis.call('ZRANGE', KEYS[2], 0, -1)
for _, id in ipairs(ids) do
  local version = redis.call('HGET', ARGV[1] .. id, 'v')
  if version and newer(version) then return {CORRUPT} end
end
local reply = {OK}
for _, id in ipairs(ids) do
  redis.call('UNLINK', ARGV[1] .. id, ARGV[2] .. id)
  tell(ARGV[1] .. id, 0)
  reply[#reply + 1] = id
end
local known = session or ids[1]
redis.call('DEL', KEYS[1], KEYS[2])
-- A mark that is there lasts no shorter: it may be that of a session that was known.
local lasting = math.max(redis.call('PTTL', KEYS[3]), tonumber(known and ARGV[3] or ARGV[4]))
redis.call('SET', KEYS[3], string.format('%.3f', now() / 1000), 'PX', lasting)
return reply
