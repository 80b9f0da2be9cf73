-- Moves deadlines in a sorted set on, or enters them: leases in an index shard, or an owner's running streams.
-- KEYS: shard_key
-- ARGV: mode ('XX' to move only members that are there, 'NX' to add only those that are not, '' for both), from_now_ms,
--       ttl_ms (the key's), members…
-- Reply: the deadline, or 0 when NX added nothing
--@include now_ms
--@include extend_ttl
local deadline, added = now_ms() + from_now_ms, 0
for i = members_from, #ARGV do
  local member = ARGV[i]
  if mode == '' then
    redis.call('ZADD', shard_key, deadline, member)
  else
    added = added + redis.call('ZADD', shard_key, mode, deadline, member)
  end
end
extend_ttl(shard_key, ttl_ms)
if mode == 'NX' and added == 0 then return 0 end
return deadline
