-- Enters a reservation in the index; one that is there stays.
-- KEYS: shard
-- ARGV: from now on when to look at it (ms), the key's TTL (ms), member
-- Reply: 1
--@include clock
--@include sorted
mended(KEYS[1])
redis.call('ZADD', KEYS[1], 'NX', now() + ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
