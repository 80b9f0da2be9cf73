-- Moves deadlines in a sorted set on, or enters them: leases in an index shard, or an owner's running streams.
-- KEYS: shard_key
-- ARGV: mode ('XX' to move only members that are there, 'NX' to add only those that are not, '' for both), from_now_ms,
--       ttl_ms (the key's), members…
-- Reply: the deadline, or 0 when NX added nothing
--@include now_ms
--@include extend_ttl
local deadline, added = now_ms() + from_now_ms, 0
local score = deadline .. '' -- once: Redis takes as long to write a number as for a small command
for i = members_from, #ARGV, 1000 do -- `unpack` takes about 8,000
  local entries = {}
  for n = i, math.min(i + 999, #ARGV) do
    entries[#entries + 1] = score
    entries[#entries + 1] = ARGV[n]
  end
  if mode == '' then
    redis.call('ZADD', shard_key, unpack(entries))
  else
    added = added + redis.call('ZADD', shard_key, mode, unpack(entries))
  end
end
extend_ttl(shard_key, ttl_ms)
if mode == 'NX' and added == 0 then return 0 end
return deadline
