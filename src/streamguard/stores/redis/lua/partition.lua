-- Enters a worker among those that share out the work of reconciling, or with a lease of 0 takes it out.
-- KEYS: workers
-- ARGV: worker, lease (ms), the TTL of the list (ms)
-- Reply: {its place among them, from 0; how many there are}
--@include time
--@include sorted
local at = now()
mended(KEYS[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', at)
if tonumber(ARGV[2]) > 0 then
  redis.call('ZADD', KEYS[1], at + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
local workers = redis.call('ZRANGE', KEYS[1], 0, -1)
local place = 0
for _, worker in ipairs(workers) do
  if worker < ARGV[1] then place = place + 1 end
end
return {place, #workers}
