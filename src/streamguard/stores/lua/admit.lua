-- Counts a stream among its owner's running ones, if there is room.
-- KEYS: owner
-- ARGV: stream id, limit, lease (ms), the key's TTL (ms)
-- Reply: 1 admitted, 0 not
--@include time
--@include extend
local at = now()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', at)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], at + ARGV[3], ARGV[1])
extend(KEYS[1], ARGV[4])
return 1
