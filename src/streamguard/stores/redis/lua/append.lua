-- Adds events to an open stream's log.
-- KEYS: meta, log [, session: for what event 1 decided [, streams: to renew the TTLs as well]]
-- ARGV: epoch, until when this may be carried out (ms on this server's clock, or ''), number of the first event [, '=',
--       protocol, client version, message id, stream id: what event 1 decided], then kind and payload of each event
-- Reply: the last event: all was added, and until something shuts the log its writer may add what follows by plain XADDs;
--        otherwise {status, last event, stop flag}, and the time (ms) where this came too late
-- Its writer no longer counts on an append past its time, and has shown those events as not logged.
-- This is the hot path of several events at once: one HMGET, the clock, the XADDs, one HSET, a number for an answer. TTLs
-- are renewed when asked. docs/explanation/races.md tells of the plain XADDs.
-- It is called by hand (see appends.py), so it names its keys and arguments itself.
--@include status
--@include now_ms
--@include extend_ttl
--@include last_of
--@include shut
local call = redis.call
local meta_key, log_key, session_key, streams_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch, until_ms, events_from = ARGV[1], ARGV[2], 4
local stored_epoch, state, last_seq, lost, stop, watched_until, ttl_ms =
  unpack(call('HMGET', meta_key, @epoch@, @state@, @last_seq@, @lost@, @stop@, @watched_until@, @ttl_ms@))
if not stored_epoch then return {GONE, 0, 0} end
local last = tonumber(last_seq)
stop = tonumber(stop) or 0
local function refuse(status, at) return {status, last_of(log_key, last), stop, at} end
if stored_epoch ~= epoch then return refuse(FENCED) end
if state ~= 'o' then return refuse(SEALED) end
if lost == '1' then return refuse(LOST) end
local at = now_ms()
if until_ms ~= '' and at >= tonumber(until_ms) then return refuse(LATE, at) end
local first = tonumber(ARGV[3])
if first ~= last + 1 then last = last_of(log_key, last) end
if first > last + 1 then
  if last > 0 and call('EXISTS', log_key) == 0 then return {GONE, 0, stop} end
  return {GAP, last, stop}
end
if first <= last then
  local taken_seq = call('HGET', meta_key, @taken_seq@)
  if taken_seq and first <= tonumber(taken_seq) then return {FENCED, last, stop} end
end
if first == 1 and ARGV[4] == '=' then
  events_from = 9
  if last == 0 then
--@include decide
    if decide(meta_key, session_key, ARGV[5], ARGV[6], ARGV[7], ARGV[8]) then extend_ttl(session_key, ttl_ms) end
  end
end
local before = last
-- Where the next event is. Events that are there already are skipped.
local next_at = events_from + 2 * (last + 1 - first)
if next_at < #ARGV and last > 0 then
  local added = redis.pcall('XADD', log_key, 'NOMKSTREAM', epoch .. '-' .. last + 1, ARGV[next_at], ARGV[next_at + 1])
  if not added then return {GONE, 0, stop} end
  if type(added) == 'string' then
    last, next_at = last + 1, next_at + 2
  elseif string.find(added.err, 'equal or smaller', 1, true) then -- shut, or there already
    last = last_of(log_key, last)
    before, next_at = last, events_from + 2 * (last + 1 - first)
    reopen(log_key, epoch, last)
  else
    error(added.err, 0)
  end
end
-- `..` would do, as Lua writes numbers below 1e14 out in full; but it writes them as floats, a fifth of an event's cost.
local format, id_form = string.format, epoch .. '-%d'
for i = next_at, #ARGV, 2 do
  local kind, payload = ARGV[i], ARGV[i + 1]
  last = last + 1
  if last == 1 then
    call('XADD', log_key, epoch .. '-1', kind, payload)
    call('PEXPIRE', log_key, ttl_ms)
  elseif not call('XADD', log_key, 'NOMKSTREAM', format(id_form, last), kind, payload) then
    return {GONE, 0, stop}
  end
end
local watched = watched_until and tonumber(watched_until) > at
if last > before then
  call('HSET', meta_key, @last_seq@, format('%d', last))
  if watched then
    local hint = {struct.pack('>BI8I8', stop, before + 1, tonumber(epoch))}
    -- A few hints of large events fill a subscriber's output buffer, and Redis would drop it: an empty hint makes it read instead.
    local size, added_from = 0, events_from + 2 * (before + 1 - first)
    for i = added_from, #ARGV, 2 do size = size + #ARGV[i + 1] end
    if size <= 1048576 then
      for i = added_from, #ARGV, 2 do
        hint[#hint + 1] = ARGV[i] .. struct.pack('>I4', #ARGV[i + 1])
        hint[#hint + 1] = ARGV[i + 1]
      end
    end
    call('PUBLISH', meta_key .. ':d', table.concat(hint))
  end
elseif last > 0 and call('EXISTS', log_key) == 0 then
  return {GONE, 0, stop}
end
if streams_key then
  call('PEXPIRE', meta_key, ttl_ms)
  call('PEXPIRE', log_key, ttl_ms)
  extend_ttl(session_key, ttl_ms)
  extend_ttl(streams_key, ttl_ms)
end
if last > before and stop == 0 and not watched then return last end
return {last > before and OK or DUPLICATE, last, stop}
