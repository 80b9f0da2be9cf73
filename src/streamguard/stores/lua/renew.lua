-- Moves deadlines in a sorted set on: leases in an index shard, or an owner's running streams.
-- KEYS: the sorted set
-- ARGV: 'XX' to move only members that are there, '' to add them; from now (ms), the key's TTL (ms), members
-- Reply: the deadline
--@include time
--@include extend
local deadline = now() + ARGV[2]
for i = 4, #ARGV do
  if ARGV[1] == 'XX' then
    redis.call('ZADD', KEYS[1], 'XX', deadline, ARGV[i])
  else
    redis.call('ZADD', KEYS[1], deadline, ARGV[i])
  end
end
extend(KEYS[1], ARGV[3])
return deadline
