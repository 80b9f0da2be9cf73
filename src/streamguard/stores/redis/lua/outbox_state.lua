-- What a stream's record says it owes, to check an entry of the outbox against.
-- KEYS: meta
-- ARGV: none
-- Reply: {'gone' | 'newer' | 'open' | 'owed' | 'dead' | 'unreadable', now, when the record expires, payload, attempts, reason}
--@include time
--@include newer
--@include fields
local at = now()
local m = fields(KEYS[1], 'v', 's', 'j', 'jd', 'ja', 'jr')
if not m or (m[1] and not tonumber(m[1])) then return {'unreadable', at, at + redis.call('PTTL', KEYS[1])} end
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
return {state, at, at + redis.call('PTTL', KEYS[1]), m[3], tonumber(m[5] or '') and m[5] or '0', m[6]}
