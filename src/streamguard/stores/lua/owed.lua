-- What a stream's record says it owes, to check an entry of the outbox against.
-- KEYS: meta
-- ARGV: none
-- Reply: {'gone' | 'newer' | 'open' | 'owed' | 'dead', now, when the record expires, payload, attempts, reason}
--@include time
--@include newer
local at = now()
local m = redis.call('HMGET', KEYS[1], 'v', 's', 'j', 'jd', 'ja', 'jr')
local state = m[4] and 'dead' or 'owed'
if not m[1] then
  state = 'gone'
elseif newer(m[1]) then
  state = 'newer'
elseif m[2] ~= 'c' then
  state = 'open'
elseif not m[3] then
  state = 'gone'
end
return {state, at, at + redis.call('PTTL', KEYS[1]), m[3], m[5] or '0', m[6]}
