-- Lists what is due in a shard of the outbox, oldest first, and forgets dead letters whose records expired.
-- KEYS: shard_key
-- ARGV: count (at most)
-- Reply: {member, due, …}
--@include now_ms
local at = now_ms()
redis.call('ZREMRANGEBYSCORE', shard_key, -at, '(0')
return redis.call('ZRANGEBYSCORE', shard_key, 0, at, 'WITHSCORES', 'LIMIT', 0, count)
