-- Counts a shard of the index, and changes nothing.
-- KEYS: shard_key
-- ARGV: none
-- Reply: all, due, due_ms (for how long the first of these has been due)
--@include now_ms
local at = now_ms()
local first = redis.call('ZRANGEBYSCORE', shard_key, '-inf', at, 'WITHSCORES', 'LIMIT', 0, 1)
return {
  redis.call('ZCARD', shard_key),
  redis.call('ZCOUNT', shard_key, '-inf', at),
  first[2] and at - tonumber(first[2]) or 0,
}
