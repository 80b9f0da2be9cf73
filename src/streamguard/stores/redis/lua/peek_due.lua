-- Lists what is due in a shard of the outbox, oldest first, and changes nothing.
-- KEYS: shard_key
-- ARGV: count (at most)
-- Reply: {member, due, …}
--@include now_ms
return redis.call('ZRANGEBYSCORE', shard_key, 0, now_ms(), 'WITHSCORES', 'LIMIT', 0, count)
