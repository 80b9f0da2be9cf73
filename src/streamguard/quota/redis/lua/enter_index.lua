-- Enters a reservation in the index; one that is there stays.
-- KEYS: shard_key
-- ARGV: look_in_ms (from now on when to look at it), ttl_ms (the key's), member
-- Reply: 1
--@include now_ms
--@include reset_unless_sorted
reset_unless_sorted(shard_key)
redis.call('ZADD', shard_key, 'NX', now_ms() + look_in_ms, member)
redis.call('PEXPIRE', shard_key, ttl_ms)
return 1
