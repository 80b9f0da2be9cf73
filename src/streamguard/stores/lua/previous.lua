-- Finds the latest earlier stream of a session with a message id, by ordinal.
-- KEYS: meta, streams
-- ARGV: stream id, message id, what the session's meta keys begin with, its log keys
-- Reply: {stream id, its snapshot} or nil
-- The streams' keys share KEYS' hash tag, so they are on this node. A record of a later version is given too: whether it
-- is the one cannot be told.
--@include time
--@include newer
--@include snapshot
local own = redis.call('HGET', KEYS[1], 'o')
local before = (own and own ~= '0') and '(' .. own or '+inf'
for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[2], before, '(0')) do
  local found = redis.call('HMGET', ARGV[3] .. id, 'v', 'mi')
  if found[1] and id ~= ARGV[1] and (found[2] == ARGV[2] or newer(found[1])) then
    return {id, snapshot(ARGV[3] .. id, ARGV[4] .. id, now())}
  end
end
return false
