-- Lists what is due in a shard of the outbox, oldest first, and forgets dead letters whose records expired.
-- KEYS: shard
-- ARGV: how many at most
-- Reply: {member, due, …}
--@include time
local at = now()
redis.call('ZREMRANGEBYSCORE', KEYS[1], -at, '(0')
return redis.call('ZRANGEBYSCORE', KEYS[1], 0, at, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
