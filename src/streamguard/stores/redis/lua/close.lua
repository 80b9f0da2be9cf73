-- Writes a sealed stream's last events and its terminal record, and closes it.
-- KEYS: meta, log, session, streams, lease shard, owner
-- ARGV: epoch, stream id, retention (ms), persisted, quota, '1' with an outbox payload, the payload,
--       the seal it belongs to (last event, JSON, usage and held parts, joined by |) or '' for whichever stands, its name in the lease index,
--       then kind and payload of each event, the terminal record last
-- Reply: {status, last event, stop flag}
-- The last two keys are on other slots: one server takes them too, a cluster needs a step of its own for them.
-- A log that takes no more of ours (it is of another type, or somebody else wrote to it) is lost: it is removed, and the
-- terminal record alone is there in its place.
--@include status
--@include time
--@include extend
--@include newer
--@include fields
--@include sorted
--@include tell
local m = redis.call('HMGET', KEYS[1], 'v', 'e', 's', 'n', 'p', 'w', 'gl', 'g', 'u', 'h')
if not m[1] then return {GONE, 0, 0} end
if newer(m[1]) then return {CORRUPT, 0, 0} end
local last, stop, at = tonumber(m[4]), tonumber(m[5]), now()
if m[2] ~= ARGV[1] then return {FENCED, last, stop} end
if m[3] == 'c' then return {DUPLICATE, last, stop} end
if m[3] == 'o' then return {NOT_SEALED, last, stop} end
local standing = (m[7] or '') .. '|' .. (m[8] or '') .. '|' .. (m[9] or '') .. '|' .. (m[10] or '')
if ARGV[8] ~= '' and standing ~= ARGV[8] then return {NOT_SEALED, last, stop} end
local hint = {struct.pack('>BI8I8', stop, last + 1, tonumber(ARGV[1]))}
local before, damaged = last, false
for i = 10, #ARGV, 2 do
  last = last + 1
  local added
  if last == 1 then
    added = redis.pcall('XADD', KEYS[2], ARGV[1] .. '-1', ARGV[i], ARGV[i + 1])
  else
    added = redis.pcall('XADD', KEYS[2], 'NOMKSTREAM', ARGV[1] .. '-' .. last, ARGV[i], ARGV[i + 1])
  end
  if not added then return {GONE, 0, stop} end
  if type(added) == 'table' and added.err then
    if not (string.find(added.err, 'WRONGTYPE', 1, true) or string.find(added.err, 'equal or smaller', 1, true)) then
      error(added.err, 0)
    end
    damaged = true
    break
  end
  hint[#hint + 1] = ARGV[i] .. struct.pack('>I4', #ARGV[i + 1])
  hint[#hint + 1] = ARGV[i + 1]
end
if damaged then
  last = before + 1
  redis.call('UNLINK', KEYS[2])
  redis.call('XADD', KEYS[2], ARGV[1] .. '-' .. last, ARGV[#ARGV - 1], ARGV[#ARGV])
  redis.call('HSET', KEYS[1], 'x', 1)
  hint = {struct.pack('>BI8I8', stop, 0, 0)}
end
redis.call('HSET', KEYS[1], 's', 'c', 'n', last, 'z', at, 'y', ARGV[4], 'q', ARGV[5], 't', ARGV[3])
if ARGV[6] == '1' then redis.call('HSET', KEYS[1], 'j', ARGV[7]) end
local session = fields(KEYS[3], 'active')
if session and session[1] == ARGV[2] then redis.call('HDEL', KEYS[3], 'active') end
if not mended(KEYS[5]) then redis.call('ZREM', KEYS[5], ARGV[9]) end
if not mended(KEYS[6]) then redis.call('ZREM', KEYS[6], ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
extend(KEYS[3], ARGV[3])
extend(KEYS[4], ARGV[3])
if tonumber(m[6]) > at then redis.call('PUBLISH', KEYS[1] .. ':d', table.concat(hint)) end
tell(KEYS[1], stop)
return {OK, last, stop}
