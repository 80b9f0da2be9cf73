-- Corrects entries of the index that are there.
-- KEYS: shard
-- ARGV: member and from now on when to look at it (ms), or '' to remove it; for each
-- Reply: 1
--@include clock
local at = now()
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('ZREM', KEYS[1], ARGV[i])
  else
    redis.call('ZADD', KEYS[1], 'XX', at + ARGV[i + 1], ARGV[i])
  end
end
return 1
