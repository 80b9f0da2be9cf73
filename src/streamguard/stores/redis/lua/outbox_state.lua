-- What a stream's record says it owes, to check an entry of the outbox against.
-- KEYS: meta_key
-- ARGV: none
-- Reply: {state ('gone', 'newer', 'open', 'owed', 'dead' or 'unreadable'), at_ms (now), expires_ms (when the record does),
--        payload, attempts, reason}
--@include now_ms
--@include is_newer
--@include fields
local at = now_ms()
local expires_ms = at + redis.call('PTTL', meta_key)
local record = fields(meta_key, @version@, @state@, @payload@, @dead@, @attempts@, @reason@)
if not record then return {'unreadable', at, expires_ms} end
local version, state, payload, dead, attempts, reason = unpack(record)
if version and not tonumber(version) then return {'unreadable', at, expires_ms} end
local work = dead and 'dead' or 'owed'
if not version then
  work = 'gone'
elseif is_newer(version) then
  work = 'newer'
elseif state ~= 'c' then
  work = 'open'
elseif not payload then
  work = 'gone'
end
return {work, at, expires_ms, payload, tonumber(attempts) and attempts or '0', reason}
