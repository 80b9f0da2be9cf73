-- Takes back a registration that nobody acted on, and refuses it for a while should it arrive only now.
-- KEYS: meta, log, session, streams, note of who watched before, owner, note of the withdrawal
-- ARGV: stream id, how long to refuse it (ms)
-- Reply: OK, GONE (no such stream; refused all the same), FENCED (something became of it: nothing was changed) or CORRUPT
-- The owner's key is on another slot: see register.lua.
--@include status
--@include newer
--@include fields
--@include mapped
--@include unmap
--@include sorted
--@include tell
local m = redis.call('HMGET', KEYS[1], 'v', 's', 'n', 'x', 'eb', 'pl', 'pc')
local session = fields(KEYS[3], 'v', 'active', 'last', 'lost', 'unlisted')
if m[1] then
  if newer(m[1]) or (session and tonumber(session[1] or '') and newer(session[1])) then return CORRUPT end
  if m[2] ~= 'o' or m[3] ~= '0' or m[4] ~= '0' or m[5] then return FENCED end
end
redis.call('SET', KEYS[7], '1', 'PX', ARGV[2])
if not m[1] then return GONE end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[5])
if not mended(KEYS[4]) then redis.call('ZREM', KEYS[4], ARGV[1]) end
if not mended(KEYS[6]) then redis.call('ZREM', KEYS[6], ARGV[1]) end
if session then
  if session[2] == ARGV[1] then redis.call('HDEL', KEYS[3], 'active') end
  if session[3] == ARGV[1] then
    if m[6] then
      redis.call('HSET', KEYS[3], 'last', m[6], 'created', m[7])
    else
      redis.call('HDEL', KEYS[3], 'last', 'created')
    end
  end
  unmap(KEYS[3], ARGV[1])
  local first = not m[6] and not (session[4] or session[5]) and (not session[3] or session[3] == ARGV[1])
  if first and redis.call('EXISTS', KEYS[4]) == 0 then redis.call('UNLINK', KEYS[3]) end
end
tell(KEYS[1], 0)
return OK
