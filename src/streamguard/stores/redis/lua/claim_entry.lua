-- Claims an entry of the outbox: moves it ahead, if nobody moved it since it was read.
-- KEYS: shard_key
-- ARGV: member, score (when it was due), claim_ms (for how long)
-- Reply: when it is due now (ms), or 0 when somebody else has it
--@include now_ms
local current = redis.call('ZSCORE', shard_key, member)
if not current or tonumber(current) ~= score then return 0 end
local deadline = now_ms() + claim_ms
redis.call('ZADD', shard_key, deadline, member)
return deadline
