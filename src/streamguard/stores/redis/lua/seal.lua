-- Decides how a stream ended; the first decision stands.
-- KEYS: meta
-- ARGV: epoch, last event, seal (JSON), usage (JSON or ''), held closing parts (packed)
-- Reply: {status [, seal, its last event, usage, held parts: the seal that stands]}
--@include status
--@include newer
--@include tell
local m = redis.call('HMGET', KEYS[1], 'v', 'e', 's', 'n', 'x', 'p')
if not m[1] then return {GONE} end
if newer(m[1]) then return {CORRUPT} end
if m[3] ~= 'o' then
  local g = redis.call('HMGET', KEYS[1], 'g', 'gl', 'u', 'h')
  return {SEALED, g[1], g[2], g[3], g[4]}
end
if m[2] ~= ARGV[1] then return {FENCED} end
if m[5] ~= '0' then return {LOST} end
if m[4] ~= ARGV[2] then return {GAP} end
redis.call('HSET', KEYS[1], 's', 's', 'g', ARGV[3], 'gl', ARGV[2], 'u', ARGV[4], 'h', ARGV[5])
tell(KEYS[1], tonumber(m[6]))
return {OK, ARGV[3], ARGV[2], ARGV[4], ARGV[5]}
