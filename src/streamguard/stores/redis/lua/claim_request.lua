-- Says which stream answers the requests with one idempotency key, unless another claim stands.
-- KEYS: claim_key
-- ARGV: claim (see request_claims.py), replaced (the one it may replace, or ''), ttl_ms (how long it stands at least)
-- Reply: the claim that stands
local standing = redis.call('GET', claim_key)
if standing and standing ~= claim and standing ~= replaced then return standing end
redis.call('SET', claim_key, claim, 'PX', math.max(redis.call('PTTL', claim_key), ttl_ms))
return claim
