-- Renews a writer's lease; and once a minute, or an eighth of the TTL, the TTLs of its stream's keys.
-- KEYS: meta_key, log_key, session_key, streams_key
-- ARGV: epoch, lease_ms, ttl_ms, usage (so far: JSON or '')
-- Reply: {status, last_seq, stop [, at_ms: the time, where it was renewed]}
--@include status
--@include now_ms
--@include extend_ttl
--@include last_of
local stored_epoch, state, last_seq, lost, stop, lease_until, stored_ttl_ms =
  unpack(redis.call('HMGET', meta_key, @epoch@, @state@, @last_seq@, @lost@, @stop@, @lease_until@, @ttl_ms@))
if not stored_epoch then return {GONE, 0, 0} end
local last = last_of(log_key, last_seq)
stop = tonumber(stop) or 0
if stored_epoch ~= epoch then return {FENCED, last, stop} end
if state == 'c' then return {SEALED, last, stop} end
local at = now_ms()
-- The lease says when it was renewed last. A TTL that is not the record's is given at once, and by appends from now on.
local period = math.min(60000, ttl_ms / 8)
local renewed_at = (tonumber(lease_until) or 0) - lease_ms
local is_other = tonumber(stored_ttl_ms) ~= ttl_ms
local due = is_other or math.floor(at / period) ~= math.floor(renewed_at / period)
local has_log = due and redis.call('PEXPIRE', log_key, ttl_ms) or redis.call('EXISTS', log_key)
if has_log == 0 and last > 0 and lost ~= '1' then return {GONE, 0, stop} end
redis.call('HSET', meta_key, @lease_until@, at + lease_ms)
if is_other then redis.call('HSET', meta_key, @ttl_ms@, ttl_ms) end
if usage ~= '' and state == 'o' then redis.call('HSET', meta_key, @usage@, usage) end
if due then
  redis.call('PEXPIRE', meta_key, ttl_ms)
  extend_ttl(session_key, ttl_ms)
  extend_ttl(streams_key, ttl_ms)
end
return {OK, last, stop, at}
