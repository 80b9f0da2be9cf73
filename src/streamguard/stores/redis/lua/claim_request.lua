-- Says which stream answers the requests with one idempotency key, unless another claim stands.
-- KEYS: claim
-- ARGV: the claim (see redis_claims.py), the one it may replace or '', how long it stands at least (ms)
-- Reply: the claim that stands
local standing = redis.call('GET', KEYS[1])
if standing and standing ~= ARGV[1] and standing ~= ARGV[2] then return standing end
redis.call('SET', KEYS[1], ARGV[1], 'PX', math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3])))
return ARGV[1]
