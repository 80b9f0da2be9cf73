-- Takes back the claim of a request, if it stands exactly so.
-- KEYS: claim_key
-- ARGV: claim (as it is stored)
-- Reply: 1 taken back, 0 otherwise
if redis.call('GET', claim_key) ~= claim then return 0 end
return redis.call('DEL', claim_key)
