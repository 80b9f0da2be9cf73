-- Enters a worker among those that share out the work of reconciling, or with a lease of 0 takes it out.
-- KEYS: workers_key
-- ARGV: worker, lease_ms, ttl_ms (of the list)
-- Reply: {place (among them, from 0), workers (how many there are)}
--@include now_ms
--@include reset_unless_sorted
local at = now_ms()
reset_unless_sorted(workers_key)
redis.call('ZREMRANGEBYSCORE', workers_key, '-inf', at)
if lease_ms > 0 then
  redis.call('ZADD', workers_key, at + lease_ms, worker)
  redis.call('PEXPIRE', workers_key, ttl_ms)
else
  redis.call('ZREM', workers_key, worker)
end
local workers = redis.call('ZRANGE', workers_key, 0, -1)
local place = 0
for _, other in ipairs(workers) do
  if other < worker then place = place + 1 end
end
return {place, #workers}
