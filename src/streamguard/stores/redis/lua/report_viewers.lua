-- Notes how many view which streams in a worker, in place of what it said before.
-- KEYS: workers, counts
-- ARGV: worker, counts or '' for nobody, for how long that stands (ms), the TTL of both keys (ms)
-- Reply: 1
--@include time
--@include fields
--@include sorted
local at = now()
if mended(KEYS[1]) or not fields(KEYS[2], ARGV[1]) then redis.call('UNLINK', KEYS[1], KEYS[2]) end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at)) do
  redis.call('HDEL', KEYS[2], worker)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', at)
if ARGV[2] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[1], at + ARGV[3], ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return 1
