-- Lists what is due in a shard of the lease index, oldest first.
-- KEYS: shard
-- ARGV: how many at most
-- Reply: {member, deadline, …}
--@include time
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now(), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
