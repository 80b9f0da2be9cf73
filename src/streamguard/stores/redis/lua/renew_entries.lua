-- Moves deadlines in a sorted set on: leases in an index shard, or an owner's running streams.
-- KEYS: the sorted set
-- ARGV: 'XX' to move only members that are there, 'NX' to add only those that are not, '' for both; from now (ms),
--       the key's TTL (ms), members
-- Reply: the deadline, or 0 when NX added nothing
--@include time
--@include extend
local deadline, added = now() + ARGV[2], 0
for i = 4, #ARGV do
  if ARGV[1] == '' then
    redis.call('ZADD', KEYS[1], deadline, ARGV[i])
  else
    added = added + redis.call('ZADD', KEYS[1], ARGV[1], deadline, ARGV[i])
  end
end
extend(KEYS[1], ARGV[3])
if ARGV[1] == 'NX' and added == 0 then return 0 end
return deadline
