-- Renews a writer's lease and the TTLs of its stream's keys.
-- KEYS: meta_key, log_key, session_key, streams_key
-- ARGV: epoch, lease_ms, ttl_ms, usage (so far: JSON or '')
-- Reply: {status, last_seq, stop [, at_ms: the time, where it was renewed]}
--@include status
--@include now_ms
--@include extend_ttl
--@include last_of
local stored_epoch, state, last_seq, lost, stop =
  unpack(redis.call('HMGET', meta_key, @epoch@, @state@, @last_seq@, @lost@, @stop@))
if not stored_epoch then return {GONE, 0, 0} end
local last = last_of(log_key, last_seq)
stop = tonumber(stop) or 0
if stored_epoch ~= epoch then return {FENCED, last, stop} end
if state == 'c' then return {SEALED, last, stop} end
local log_renewed = redis.call('PEXPIRE', log_key, ttl_ms)
if log_renewed == 0 and last > 0 and lost ~= '1' then return {GONE, 0, stop} end
local at = now_ms()
redis.call('HSET', meta_key, @lease_until@, at + lease_ms)
if usage ~= '' and state == 'o' then redis.call('HSET', meta_key, @usage@, usage) end
redis.call('PEXPIRE', meta_key, ttl_ms)
extend_ttl(session_key, ttl_ms)
extend_ttl(streams_key, ttl_ms)
return {OK, last, stop, at}
