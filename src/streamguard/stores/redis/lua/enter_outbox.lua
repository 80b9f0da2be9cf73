-- Enters a stream into a shard of the outbox, or moves it.
-- KEYS: shard_key
-- ARGV: member, mode, from_now_ms, ttl_ms (the key's)
-- Reply: 1
-- A score is when the entry is due (ms), or minus the time at which a dead letter's record expires. Modes: 'later' adds
-- an entry or moves a living one, but to no earlier time; 'alive' adds one or moves a dead letter; 'due' and 'dead' move
-- anything.
--@include now_ms
--@include extend_ttl
local score, at = redis.call('ZSCORE', shard_key, member), now_ms() + from_now_ms
score = score and tonumber(score)
if mode == 'dead' then
  redis.call('ZADD', shard_key, -at, member)
elseif not score or mode == 'due' or (mode == 'alive' and score < 0)
  or (mode == 'later' and score >= 0 and score < at) then
  redis.call('ZADD', shard_key, at, member)
end
extend_ttl(shard_key, ttl_ms)
return 1
