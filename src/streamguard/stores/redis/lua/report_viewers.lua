-- Notes how many viewers of which streams a worker has, in place of its last note.
-- KEYS: workers_key, counts_key
-- ARGV: worker, counts (or '' for none), standing_ms (for how long that stands), ttl_ms (of both keys)
-- Reply: 1
--@include now_ms
--@include fields
--@include reset_unless_sorted
local at = now_ms()
if reset_unless_sorted(workers_key) or not fields(counts_key, worker) then redis.call('UNLINK', workers_key, counts_key) end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', workers_key, '-inf', at)) do
  redis.call('HDEL', counts_key, gone)
end
redis.call('ZREMRANGEBYSCORE', workers_key, '-inf', at)
if counts == '' then
  redis.call('ZREM', workers_key, worker)
  redis.call('HDEL', counts_key, worker)
else
  redis.call('ZADD', workers_key, at + standing_ms, worker)
  redis.call('HSET', counts_key, worker, counts)
  redis.call('PEXPIRE', workers_key, ttl_ms)
  redis.call('PEXPIRE', counts_key, ttl_ms)
end
return 1
