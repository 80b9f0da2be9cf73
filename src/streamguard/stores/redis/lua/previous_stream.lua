-- Finds the latest earlier stream of a session with a message id, by ordinal.
-- KEYS: meta, streams, session
-- ARGV: stream id, message id, what the session's meta keys begin with, its log keys
-- Reply: {stream id, its snapshot} or nil
-- The streams' keys share KEYS' hash tag, so they are on this node. Looks through all streams of a session only where the
-- session's own list of them is not whole: it was damaged and begun anew, or a later version wrote it. There a record of a
-- later version is given too: whether it is the one cannot be told. One that is damaged is passed over: it has nothing to give.
--@include time
--@include newer
--@include fields
--@include mapped
--@include snapshot
local own = redis.call('HGET', KEYS[1], 'o')
local registered = own and own ~= '0'
local session = fields(KEYS[3], 'v', 'unlisted')
local version = session and session[1]
if session and not session[2] and (not version or (tonumber(version) and not newer(version))) then
  local streams = mapped(KEYS[3], ARGV[2])
  for at = #streams, 1, -1 do
    local ordinal, id = tonumber(streams[at][1]), streams[at][2]
    if id ~= ARGV[1] and not (registered and ordinal >= tonumber(own)) then
      local found = fields(ARGV[3] .. id, 'v') and snapshot(ARGV[3] .. id, ARGV[4] .. id, now())
      if found then return {id, found} end
    end
  end
  return false
end
for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[2], registered and '(' .. own or '+inf', '(0')) do
  local found = fields(ARGV[3] .. id, 'v', 'mi')
  if found and tonumber(found[1] or '') and id ~= ARGV[1] and (found[2] == ARGV[2] or newer(found[1])) then
    return {id, snapshot(ARGV[3] .. id, ARGV[4] .. id, now())}
  end
end
return false
