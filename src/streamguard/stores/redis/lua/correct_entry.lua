-- Corrects an entry of an index, if nobody moved it since it was read.
-- KEYS: shard_key
-- ARGV: member, score (that it was read with), true_score (or '' to remove it)
-- Reply: 1 done, 0 it had moved
local current = redis.call('ZSCORE', shard_key, member)
if not current or tonumber(current) ~= score then return 0 end
if true_score == '' then
  redis.call('ZREM', shard_key, member)
else
  redis.call('ZADD', shard_key, true_score, member)
end
return 1
