-- Reads what workers said of themselves, those that are kept longest first.
-- KEYS: workers_key, reports_key
-- ARGV: count (at most)
-- Reply: {now_ms, worker, note, …}
--@include now_ms
local at = now_ms()
local workers = redis.call('ZREVRANGEBYSCORE', workers_key, '+inf', '(' .. string.format('%.0f', at), 'LIMIT', 0, count)
local found = {string.format('%.0f', at)}
if #workers == 0 then return found end
local notes = redis.call('HMGET', reports_key, unpack(workers))
for at_place, worker in ipairs(workers) do
  if notes[at_place] then
    found[#found + 1] = worker
    found[#found + 1] = notes[at_place]
  end
end
return found
