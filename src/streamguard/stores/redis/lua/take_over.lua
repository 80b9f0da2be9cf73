-- Raises a stream's epoch and takes its lease. The record keeps which epoch wrote the last event so far, and its number.
-- KEYS: meta, log
-- ARGV: lease (ms), the epoch to take it from or '', '1' to take it while the lease runs
-- Reply: {status [, snapshot]}
--@include status
--@include time
--@include stamp
--@include newer
--@include snapshot
--@include tell
local at = now()
local m = redis.call('HMGET', KEYS[1], 'v', 'e', 's', 'd', 'p', 'n', 'eb', 'nb')
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
  -- No epoch is issued twice, not even after a rollback took back the last one.
  local epoch = math.max(m[2] + 1, stamp())
  -- Who wrote the last event: the epoch that ends here, unless it wrote none.
  local writer = m[7] and tonumber(m[6]) <= tonumber(m[8]) and m[7] or m[2]
  redis.call('HSET', KEYS[1], 'e', digits(epoch), 'd', at + ARGV[1], 'eb', writer, 'nb', m[6])
  tell(KEYS[1], tonumber(m[5]))
end
return {status, snapshot(KEYS[1], KEYS[2], at)}
