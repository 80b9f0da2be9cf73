-- Lists what is due in a shard of the index, and puts it off, so that no other worker gets it meanwhile.
-- KEYS: shard_key
-- ARGV: claim_ms (for how long, or 0 to change nothing), ttl_ms (the key's), count (at most)
-- Reply: members
--@include now_ms
--@include reset_unless_sorted
reset_unless_sorted(shard_key)
local at = now_ms()
local members = redis.call('ZRANGEBYSCORE', shard_key, '-inf', at, 'LIMIT', 0, count)
if claim_ms == 0 then return members end
for _, member in ipairs(members) do redis.call('ZADD', shard_key, at + claim_ms, member) end
if #members > 0 then redis.call('PEXPIRE', shard_key, ttl_ms) end
return members
