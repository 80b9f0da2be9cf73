-- Reads a session's pointers and the records they point to.
-- KEYS: session
-- ARGV: what the session's meta keys begin with, its log keys
-- Reply: {active id or nil, its snapshot or nil, last id or nil, its snapshot or nil}, or CORRUPT
-- The streams' keys share KEYS' hash tag, so they are on this node.
--@include status
--@include time
--@include newer
--@include snapshot
local at = now()
local ids = redis.call('HMGET', KEYS[1], 'active', 'last', 'v')
if ids[3] and newer(ids[3]) then return CORRUPT end
local reply = {}
for _, id in ipairs({1, 2}) do
  local name = ids[id]
  reply[#reply + 1] = name
  reply[#reply + 1] = name and snapshot(ARGV[1] .. name, ARGV[2] .. name, at)
end
return reply
