-- What a stream's record says of its lease, to check an entry of the index against.
-- KEYS: meta_key, log_key
-- ARGV: none
-- Reply: {state ('gone', 'newer', 'closed', 'running', 'due' or 'unreadable'), lease_until}
--@include now_ms
--@include is_newer
--@include fields
local record = fields(meta_key, @version@, @state@, @lease_until@, @last_seq@, @lost@)
if not record then return {'unreadable', '0'} end
local version, state, lease_until, last_seq, lost = unpack(record)
if not version then return {'gone', '0'} end
if not (tonumber(version) and tonumber(lease_until)) then return {'unreadable', '0'} end
if is_newer(version) then return {'newer', '0'} end
if state == 'c' then return {'closed', lease_until} end
-- A log evicted on its own can never be closed; its stream ends with its record's TTL.
if last_seq ~= '0' and lost ~= '1' and redis.call('EXISTS', log_key) == 0 then return {'gone', lease_until} end
return {tonumber(lease_until) > now_ms() and 'running' or 'due', lease_until}
