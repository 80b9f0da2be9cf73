-- Adds events to an open stream's log.
-- KEYS: meta, log [, session, streams: to renew the TTLs as well]
-- ARGV: epoch, until when this may be carried out (ms on this server's clock, or ''), number of the first event, then kind
--       and payload of each event
-- Reply: the last event; {status, last event, stop flag} unless all was added and no stop is asked for; the time (ms)
--        follows where this came too late
-- Its writer no longer counts on an append past its time, and has shown those events as not logged.
-- This is the hot path: one HMGET, the clock, the XADDs, one HSET, a number for an answer. TTLs are renewed when asked.
--@include status
--@include time
--@include extend
local call = redis.call
local m = call('HMGET', KEYS[1], 'e', 's', 'n', 'x', 'p', 'w', 't')
if not m[1] then return {GONE, 0, 0} end
local last, stop = tonumber(m[3]), tonumber(m[5])
if m[1] ~= ARGV[1] then return {FENCED, last, stop} end
if m[2] ~= 'o' then return {SEALED, last, stop} end
if m[4] ~= '0' then return {LOST, last, stop} end
local at = now()
if ARGV[2] ~= '' and at >= tonumber(ARGV[2]) then return {LATE, last, stop, at} end
local first = tonumber(ARGV[3])
if first > last + 1 then return {GAP, last, stop} end
if first <= last then
  local theirs = call('HGET', KEYS[1], 'nb')
  if theirs and first <= tonumber(theirs) then return {FENCED, last, stop} end
end
local before = last
-- Events that are there already are skipped. Numbers stay below 1e14, which Lua writes out in full.
for i = 2 * (last + 1 - first) + 4, #ARGV, 2 do
  last = last + 1
  if last == 1 then
    call('XADD', KEYS[2], ARGV[1] .. '-1', ARGV[i], ARGV[i + 1])
    call('PEXPIRE', KEYS[2], m[7])
  elseif not call('XADD', KEYS[2], 'NOMKSTREAM', ARGV[1] .. '-' .. last, ARGV[i], ARGV[i + 1]) then
    return {GONE, 0, stop}
  end
end
if last > before then
  call('HSET', KEYS[1], 'n', last)
  if m[6] ~= '0' and tonumber(m[6]) > at then
    local hint = {struct.pack('>BI8I8', stop, before + 1, tonumber(ARGV[1]))}
    -- A few hints of large events fill a subscriber's output buffer, and Redis would drop it: it is told to read instead.
    local size = 0
    for i = 2 * (before + 1 - first) + 4, #ARGV, 2 do size = size + #ARGV[i + 1] end
    if size <= 1048576 then
      for i = 2 * (before + 1 - first) + 4, #ARGV, 2 do
        hint[#hint + 1] = ARGV[i] .. struct.pack('>I4', #ARGV[i + 1])
        hint[#hint + 1] = ARGV[i + 1]
      end
    end
    call('PUBLISH', KEYS[1] .. ':d', table.concat(hint))
  end
elseif last > 0 and call('EXISTS', KEYS[2]) == 0 then
  return {GONE, 0, stop}
end
if KEYS[3] then
  call('PEXPIRE', KEYS[1], m[7])
  call('PEXPIRE', KEYS[2], m[7])
  extend(KEYS[3], m[7])
  extend(KEYS[4], m[7])
end
if last > before and stop == 0 then return last end
return {last > before and OK or DUPLICATE, last, stop}
