-- Claims an entry of the outbox: moves it ahead, if nobody moved it since it was read.
-- KEYS: shard
-- ARGV: member, when it was due, for how long (ms)
-- Reply: when it is due now, or 0 when somebody else has it
--@include time
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
local deadline = now() + ARGV[3]
redis.call('ZADD', KEYS[1], deadline, ARGV[1])
return deadline
