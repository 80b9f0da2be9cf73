-- Lists what is due in a shard of the lease index, oldest first.
-- KEYS: shard_key
-- ARGV: count (at most)
-- Reply: {member, deadline, …}
--@include now_ms
return redis.call('ZRANGEBYSCORE', shard_key, '-inf', now_ms(), 'WITHSCORES', 'LIMIT', 0, count)
