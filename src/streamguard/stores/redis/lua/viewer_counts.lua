-- Reads what workers said of their viewers, as far as it still stands.
-- KEYS: workers, counts
-- ARGV: none
-- Reply: counts, …
--@include time
local workers = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now(), '+inf')
if #workers == 0 then return {} end
return redis.call('HMGET', KEYS[2], unpack(workers))
