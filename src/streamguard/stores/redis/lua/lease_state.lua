-- What a stream's record says of its lease, to check an entry of the index against.
-- KEYS: meta, log
-- ARGV: none
-- Reply: {'gone' | 'newer' | 'closed' | 'running' | 'due' | 'unreadable', deadline}
--@include time
--@include newer
--@include fields
local m = fields(KEYS[1], 'v', 's', 'd', 'n', 'x')
if m and not m[1] then return {'gone', '0'} end
if not m or not (tonumber(m[1]) and tonumber(m[3] or '')) then return {'unreadable', '0'} end
if newer(m[1]) then return {'newer', '0'} end
if m[2] == 'c' then return {'closed', m[3]} end
-- A log evicted on its own can never be closed; its stream ends with its record's TTL.
if m[4] ~= '0' and m[5] == '0' and redis.call('EXISTS', KEYS[2]) == 0 then return {'gone', m[3]} end
return {tonumber(m[3]) > now() and 'running' or 'due', m[3]}
