-- Corrects an entry of the lease index, if nobody moved it since it was read.
-- KEYS: shard
-- ARGV: member, the deadline it was read with, its true deadline or '' to remove it
-- Reply: 1 done, 0 it had moved
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
end
return 1
