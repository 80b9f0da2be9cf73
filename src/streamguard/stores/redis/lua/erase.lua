-- Deletes every stream of a session and leaves the erasure mark.
-- KEYS: session, streams, erasure mark, when its coming answers were stopped, the owner's sessions of which that is so
-- ARGV: what the session's meta keys begin with, its log keys, the mark's lifetime (ms), that of the mark of a session
--       of which nothing is known (ms), '1' once its keys were searched for, ids of streams that were found so
-- Reply: {OK, stream id, …: those deleted}; or nothing was deleted: {'search'}: it may have streams that nobody names, or
--        {CORRUPT}: something is a later version's
-- The streams' keys share KEYS' hash tag, so they are on this node. Nothing here depends on what a key holds: what cannot
-- be read is deleted all the same.
--@include status
--@include stamp
--@include newer
--@include fields
--@include sorted
--@include tell
local function foreign(found)
  return found and found[1] and tonumber(found[1]) and newer(found[1])
end
local session = fields(KEYS[1], 'v', 'active', 'last', 'lost')
if foreign(session) then return {CORRUPT} end
local listed = redis.pcall('ZRANGE', KEYS[2], 0, -1)
local unnamed = 0
if listed.err then
  if not string.find(listed.err, 'WRONGTYPE', 1, true) then error(listed.err, 0) end
  listed, unnamed = {}, 1
end
if session and (session[4] or (session[1] and #listed == 0)) then unnamed = 1 end
if unnamed == 1 and ARGV[5] ~= '1' then return {'search'} end
listed[#listed + 1] = session and session[2] or ''
listed[#listed + 1] = session and session[3] or ''
for i = 6, #ARGV do -- one by one: `unpack` takes about 8,000
  listed[#listed + 1] = ARGV[i]
end
local ids, seen = {}, {['']=true}
for _, id in ipairs(listed) do
  if not seen[id] then
    seen[id] = true
    ids[#ids + 1] = id
    if foreign(fields(ARGV[1] .. id, 'v')) then return {CORRUPT} end
  end
end
local reply, at = {OK}, stamp()
for _, id in ipairs(ids) do
  -- Later than all it erases, whatever became of the clock meanwhile.
  local began = fields(ARGV[1] .. id, 'c')
  at = math.max(at, tonumber(began and began[1] or '') or 0)
  redis.call('UNLINK', ARGV[1] .. id, ARGV[2] .. id, ARGV[1] .. id .. ':w')
  tell(ARGV[1] .. id, 0)
  reply[#reply + 1] = id
end
local known = not session or session[1] or unnamed == 1 or ids[1]
redis.call('DEL', KEYS[1], KEYS[2], KEYS[4])
if not mended(KEYS[5]) then redis.call('ZREM', KEYS[5], KEYS[4]) end
-- A mark that is there lasts no shorter: it may be that of a session that was known.
local lasting = math.max(redis.call('PTTL', KEYS[3]), tonumber(known and ARGV[3] or ARGV[4]))
redis.call('SET', KEYS[3], digits(at), 'PX', lasting)
return reply
