-- Lists what is due in a shard of the index, and puts it off, so that nobody else gets it meanwhile.
-- KEYS: shard
-- ARGV: for how long (ms), or 0 to change nothing; the key's TTL (ms), how many at most
-- Reply: members
--@include clock
--@include sorted
mended(KEYS[1])
local at = now()
local members = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at, 'LIMIT', 0, ARGV[3])
if ARGV[1] == '0' then return members end
for _, member in ipairs(members) do redis.call('ZADD', KEYS[1], at + ARGV[1], member) end
if #members > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return members
