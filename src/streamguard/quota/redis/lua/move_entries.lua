-- Corrects entries of the index that are there.
-- KEYS: shard_key
-- ARGV: moves… (member of each, and from now on when to look at it (ms), or '' to remove it)
-- Reply: 1
--@include now_ms
local at = now_ms()
for i = moves_from, #ARGV, 2 do
  local member, look_in_ms = ARGV[i], ARGV[i + 1]
  if look_in_ms == '' then
    redis.call('ZREM', shard_key, member)
  else
    redis.call('ZADD', shard_key, 'XX', at + look_in_ms, member)
  end
end
return 1
