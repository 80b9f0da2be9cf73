-- Reads a session's pointers and the records they point to.
-- KEYS: session
-- ARGV: what the session's meta keys begin with, its log keys
-- Reply: {active id or nil, its snapshot or nil, last id or nil, its snapshot or nil}
-- The streams' keys share KEYS' hash tag, so they are on this node.
--@include time
--@include snapshot
local at = now()
local ids = redis.call('HMGET', KEYS[1], 'active', 'last')
local reply = {}
for _, id in ipairs({1, 2}) do
  local name = ids[id]
  reply[#reply + 1] = name
  reply[#reply + 1] = name and snapshot(ARGV[1] .. name, ARGV[2] .. name, at)
end
return reply
