-- Adds events to an open stream's log.
-- KEYS: meta, log [, session, streams: to renew the TTLs as well]
-- ARGV: epoch, number of the first event, then kind and payload of each event
-- Reply: {status, last event, stop flag}
-- This is the hot path: one HMGET, the XADDs, one HSET. TTLs are renewed when asked, the clock is read when watched.
--@include status
--@include time
--@include extend
local m = redis.call('HMGET', KEYS[1], 'e', 's', 'n', 'x', 'p', 'w', 't')
if not m[1] then return {GONE, 0, 0} end
local last, stop = tonumber(m[3]), tonumber(m[5])
if m[1] ~= ARGV[1] then return {FENCED, last, stop} end
if m[2] ~= 'o' then return {SEALED, last, stop} end
if m[4] ~= '0' then return {LOST, last, stop} end
local first = tonumber(ARGV[2])
if first > last + 1 then return {GAP, last, stop} end
local before, count = last, (#ARGV - 2) / 2
for i = last + 1 - first, count - 1 do
  local seq = first + i
  if seq == 1 then
    redis.call('XADD', KEYS[2], '1-0', ARGV[3], ARGV[4])
    redis.call('PEXPIRE', KEYS[2], m[7])
  elseif not redis.call('XADD', KEYS[2], 'NOMKSTREAM', seq .. '-0', ARGV[3 + 2 * i], ARGV[4 + 2 * i]) then
    return {GONE, 0, stop}
  end
  last = seq
end
if last == before then
  if last > 0 and redis.call('EXISTS', KEYS[2]) == 0 then return {GONE, 0, stop} end
else
  redis.call('HSET', KEYS[1], 'n', last)
  if m[6] ~= '0' and tonumber(m[6]) > now() then
    local hint = {struct.pack('>BI8', stop, before + 1)}
    for i = before + 1 - first, count - 1 do
      hint[#hint + 1] = ARGV[3 + 2 * i] .. struct.pack('>I4', #ARGV[4 + 2 * i])
      hint[#hint + 1] = ARGV[4 + 2 * i]
    end
    redis.call('PUBLISH', KEYS[1] .. ':d', table.concat(hint))
  end
end
if KEYS[3] then
  redis.call('PEXPIRE', KEYS[1], m[7])
  redis.call('PEXPIRE', KEYS[2], m[7])
  extend(KEYS[3], m[7])
  extend(KEYS[4], m[7])
end
return {last == before and DUPLICATE or OK, last, stop}
