-- Takes one of an owner's slots for a stream that is about to be registered elsewhere in the cluster, if there is room.
-- KEYS: owner_key (the owner's running streams)
-- ARGV: stream_id, lease_ms, limit (how many the owner may have, or ''), ttl_ms (of the key)
-- Reply: {answer, reset, ids…}: {'taken'}, {'known'} (it had one, which is renewed) or {'full', and the ids that have the
--        slots}; reset is 1 where the key was damaged and begun anew
--@include now_ms
--@include renew_ttl
--@include reset_unless_sorted
local at, reset = now_ms(), reset_unless_sorted(owner_key) and 1 or 0
redis.call('ZREMRANGEBYSCORE', owner_key, '-inf', at)
local known = redis.call('ZSCORE', owner_key, stream_id)
if limit and not known and redis.call('ZCARD', owner_key) >= limit then
  return {'full', reset, unpack(redis.call('ZRANGE', owner_key, 0, 999))}
end
redis.call('ZADD', owner_key, at + lease_ms, stream_id)
renew_ttl(owner_key, ttl_ms)
return {known and 'known' or 'taken', reset}
