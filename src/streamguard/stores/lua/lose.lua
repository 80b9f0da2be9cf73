-- Declares a stream's log lost; with a terminal record, closes it (the tombstone).
-- KEYS: meta, log, session, streams, note of who watched before, erasure mark
-- ARGV: epoch, stream id, lease (ms), retention (ms), created at, '1' with a terminal record, the record,
--       seal (JSON), persisted, quota, what the session's meta keys begin with,
--       then the identity fields as name and value pairs
-- Reply: {status, last event, stop flag}
--@include status
--@include time
--@include extend
--@include newer
--@include tell
local at = now()
local ends = ARGV[6] == '1'
local m = redis.call('HMGET', KEYS[1], 'v', 'e', 's', 'n', 'x', 'p', 'w')
if m[1] then
  if newer(m[1]) then return {CORRUPT, 0, 0} end
  if m[2] ~= ARGV[1] then return {FENCED, tonumber(m[4]), tonumber(m[6])} end
  if m[3] ~= 'o' then
    return {m[3] == 'c' and m[5] ~= '0' and DUPLICATE or SEALED, tonumber(m[4]), tonumber(m[6])}
  end
  redis.call('HSET', KEYS[1], 'x', 1, 'd', at + ARGV[3])
else
  local erased = redis.call('GET', KEYS[6])
  if erased and tonumber(erased) >= tonumber(ARGV[5]) then return {GONE, 0, 0} end
  m = {false, ARGV[1], 'o', '0', '1', '0', redis.call('GET', KEYS[5]) or '0'}
  redis.call('HSET', KEYS[1], 'e', ARGV[1], 's', 'o', 'n', 0, 'x', 1, 'p', 0, 'w', m[7], 't', ARGV[4],
    'd', at + ARGV[3], 'v', @FORMAT_VERSION@, 'o', 0, 'c', ARGV[5], 'y', 'not_asked', 'q', 'none',
    unpack(ARGV, 12))
end
-- `last` is the session's newest stream, and `created` says when that one began. If a later version wrote them, they are
-- not this one's to move.
local pointers = redis.call('HMGET', KEYS[3], 'last', 'created', 'active', 'v')
local ours = not (pointers[4] and newer(pointers[4]))
if ours and (not pointers[1] or tonumber(pointers[2]) <= tonumber(ARGV[5])
  or redis.call('EXISTS', ARGV[11] .. pointers[1]) == 0) then
  redis.call('HSET', KEYS[3], 'v', @FORMAT_VERSION@, 'last', ARGV[2], 'created', ARGV[5])
  if not ends then redis.call('HSET', KEYS[3], 'active', ARGV[2]) end
end
redis.call('ZADD', KEYS[4], 'NX', 0, ARGV[2])
local last, stop = tonumber(m[4]), tonumber(m[6])
if ends then
  if pointers[3] == ARGV[2] then redis.call('HDEL', KEYS[3], 'active') end
  -- Not NOMKSTREAM: should the log be gone altogether, its tombstone still says so, under the right number.
  redis.call('XADD', KEYS[2], (last + 1) .. '-0', 't', ARGV[7])
  redis.call('HSET', KEYS[1], 's', 'c', 'n', last + 1, 'z', at, 'y', ARGV[9], 'q', ARGV[10], 't', ARGV[4],
    'g', ARGV[8], 'gl', last, 'u', '', 'h', '')
  if tonumber(m[7]) > at then
    redis.call('PUBLISH', KEYS[1] .. ':d',
      struct.pack('>BI8', stop, last + 1) .. 't' .. struct.pack('>I4', #ARGV[7]) .. ARGV[7])
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
