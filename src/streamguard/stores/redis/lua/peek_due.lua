-- Lists what is due in a shard of the outbox, oldest first, and changes nothing.
-- KEYS: shard
-- ARGV: how many at most
-- Reply: {member, due, …}
--@include time
return redis.call('ZRANGEBYSCORE', KEYS[1], 0, now(), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
