-- Raises a stream's epoch and takes its lease.
-- KEYS: meta, log
-- ARGV: lease (ms), the epoch to take it from or '', '1' to take it while the lease runs
-- Reply: {status [, snapshot]}
--@include status
--@include time
--@include newer
--@include snapshot
--@include tell
local at = now()
local m = redis.call('HMGET', KEYS[1], 'v', 'e', 's', 'd', 'p')
if not m[1] then return {GONE} end
if newer(m[1]) then return {CORRUPT} end
local status = OK
if m[3] == 'c' then
  status = SEALED
elseif ARGV[2] ~= '' and ARGV[2] ~= m[2] then
  status = FENCED
elseif ARGV[3] ~= '1' and tonumber(m[4]) > at then
  status = LEASED
else
  redis.call('HSET', KEYS[1], 'e', m[2] + 1, 'd', at + ARGV[1])
  tell(KEYS[1], tonumber(m[5]))
end
return {status, snapshot(KEYS[1], KEYS[2], at)}
