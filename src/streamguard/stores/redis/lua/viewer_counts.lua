-- Reads the notes of workers about their viewers that have not expired.
-- KEYS: workers_key, counts_key
-- ARGV: none
-- Reply: counts, …
--@include now_ms
local workers = redis.call('ZRANGEBYSCORE', workers_key, '(' .. now_ms(), '+inf')
if #workers == 0 then return {} end
return redis.call('HMGET', counts_key, unpack(workers))
