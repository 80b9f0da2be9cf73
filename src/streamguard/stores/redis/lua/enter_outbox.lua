-- Enters a stream into a shard of the outbox, or moves it.
-- KEYS: shard
-- ARGV: member, mode, from now (ms), the key's TTL (ms)
-- Reply: 1
-- A score is when the entry is due (ms), or minus the time at which a dead letter's record expires. Modes: 'later' adds
-- an entry or moves a living one, but to no earlier time; 'alive' adds one or moves a dead letter; 'due' and 'dead' move
-- anything.
--@include time
--@include extend
local score, at = redis.call('ZSCORE', KEYS[1], ARGV[1]), now() + ARGV[3]
score = score and tonumber(score)
if ARGV[2] == 'dead' then
  redis.call('ZADD', KEYS[1], -at, ARGV[1])
elseif not score or ARGV[2] == 'due' or (ARGV[2] == 'alive' and score < 0)
  or (ARGV[2] == 'later' and score >= 0 and score < at) then
  redis.call('ZADD', KEYS[1], at, ARGV[1])
end
extend(KEYS[1], ARGV[4])
return 1
