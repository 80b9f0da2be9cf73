-- Counts a shard of an index, and changes nothing.
-- KEYS: index_key
-- ARGV: none
-- Reply: all, negative, due (from 0 until now), due_ms (for how long the first of these has been due)
--@include now_ms
local at = now_ms()
local first = redis.call('ZRANGEBYSCORE', index_key, 0, at, 'WITHSCORES', 'LIMIT', 0, 1)
return {
  redis.call('ZCARD', index_key),
  redis.call('ZCOUNT', index_key, '-inf', '(0'),
  redis.call('ZCOUNT', index_key, 0, at),
  first[2] and math.max(0, at - tonumber(first[2])) or 0,
}
