-- Declares a stream's log lost; with a terminal record, closes it (the tombstone).
-- KEYS: meta, log, session, streams, note of who watched before, erasure mark
-- ARGV: epoch or '' for the stream's first, stream id, lease (ms), retention (ms), how long ago the stream began (µs),
--       '1' with a terminal record, the record,
--       seal (JSON), persisted, quota, what the session's meta keys begin with,
--       then the identity fields as name and value pairs
-- Reply: {status, last event, stop flag}
-- A record that is damaged, or of another type, is as good as missing; so is a log that takes no more of ours, whose
-- tombstone replaces it.
--@include status
--@include time
--@include stamp
--@include extend
--@include newer
--@include fields
--@include sorted
--@include tell
local at = now()
local ends = ARGV[6] == '1'
local m = fields(KEYS[1], 'v', 'e', 's', 'n', 'x', 'p', 'w', 'c', 'eb')
if m and m[1] and tonumber(m[1]) and newer(m[1]) then return {CORRUPT, 0, 0} end
local whole = m ~= nil
for _, field in ipairs(whole and {m[1] or '0', m[4] or '0', m[6] or '0', m[7] or '0', m[8] or '0'} or {}) do
  whole = whole and tonumber(field) ~= nil
end
local theirs = m and m[2] and ((ARGV[1] == '' and m[9]) or (ARGV[1] ~= '' and m[2] ~= ARGV[1]))
if not whole and not (theirs or (m and m[2] and (m[3] == 's' or m[3] == 'c'))) then
  redis.call('UNLINK', KEYS[1])
  m = {false}
elseif not whole then -- another worker's, or ended: not this one's to change
  return {theirs and FENCED or SEALED, 0, 0}
end
if m[1] then
  if theirs then return {FENCED, tonumber(m[4]), tonumber(m[6])} end
  if m[3] ~= 'o' then
    return {m[3] == 'c' and m[5] ~= '0' and DUPLICATE or SEALED, tonumber(m[4]), tonumber(m[6])}
  end
  redis.call('HSET', KEYS[1], 'x', 1, 'd', at + ARGV[3])
else
  local erased, heard = redis.pcall('GET', KEYS[6]), stamp()
  local began = heard - ARGV[5]
  -- A mark that cannot be read says all the same that there was an erasure.
  if erased and (tonumber(type(erased) == 'string' and erased or '') or math.huge) >= began then
    return {GONE, 0, 0}
  end
  local early = redis.pcall('GET', KEYS[5])
  local epoch = ARGV[1] == '' and digits(heard) or ARGV[1]
  redis.call('UNLINK', KEYS[2]) -- a log that outlived its record is nobody's
  m = {false, epoch, 'o', '0', '1', '0', type(early) == 'string' and tonumber(early) and early or '0', digits(began)}
  redis.call('HSET', KEYS[1], 'e', epoch, 's', 'o', 'n', 0, 'x', 1, 'p', 0, 'w', m[7], 't', ARGV[4],
    'd', at + ARGV[3], 'v', @FORMAT_VERSION@, 'o', 0, 'c', m[8], 'y', 'not_asked', 'q', 'none',
    unpack(ARGV, 12))
end
m[8] = m[8] or '0'
-- `last` is the session's newest stream, and `created` says when that one began. If a later version wrote them, they are
-- not this one's to move.
local pointers = fields(KEYS[3], 'last', 'created', 'active', 'v')
if not pointers or (pointers[4] and not tonumber(pointers[4])) then
  redis.call('UNLINK', KEYS[3])
  pointers = {}
end
local ours = not (pointers[4] and newer(pointers[4]))
if ours and (not pointers[1] or (tonumber(pointers[2] or '') or 0) <= tonumber(m[8])
  or redis.call('EXISTS', ARGV[11] .. pointers[1]) == 0) then
  redis.call('HSET', KEYS[3], 'v', @FORMAT_VERSION@, 'last', ARGV[2], 'created', m[8])
  if not ends then redis.call('HSET', KEYS[3], 'active', ARGV[2]) end
end
if mended(KEYS[4]) then redis.call('HSET', KEYS[3], 'lost', 1) end -- `erase` searches for what nobody names
redis.call('ZADD', KEYS[4], 'NX', 0, ARGV[2])
local last, stop = tonumber(m[4]), tonumber(m[6])
if ends then
  if pointers[3] == ARGV[2] then redis.call('HDEL', KEYS[3], 'active') end
  -- Not NOMKSTREAM: should the log be gone altogether, its tombstone still says so, under the right number.
  local id = m[2] .. '-' .. (last + 1)
  local added = redis.pcall('XADD', KEYS[2], id, 't', ARGV[7])
  if type(added) == 'table' and added.err then
    if not (string.find(added.err, 'WRONGTYPE', 1, true) or string.find(added.err, 'equal or smaller', 1, true)) then
      error(added.err, 0)
    end
    redis.call('UNLINK', KEYS[2])
    redis.call('XADD', KEYS[2], id, 't', ARGV[7])
  end
  redis.call('HSET', KEYS[1], 's', 'c', 'n', last + 1, 'z', at, 'y', ARGV[9], 'q', ARGV[10], 't', ARGV[4],
    'g', ARGV[8], 'gl', last, 'u', '', 'h', '')
  if tonumber(m[7]) > at then
    redis.call('PUBLISH', KEYS[1] .. ':d',
      struct.pack('>BI8I8', stop, last + 1, tonumber(m[2])) .. 't' .. struct.pack('>I4', #ARGV[7]) .. ARGV[7])
  end
  last = last + 1
end
if ends then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
else
  extend(KEYS[1], ARGV[4])
  extend(KEYS[2], ARGV[4])
end
extend(KEYS[3], ARGV[4])
extend(KEYS[4], ARGV[4])
tell(KEYS[1], stop)
return {OK, last, stop}
