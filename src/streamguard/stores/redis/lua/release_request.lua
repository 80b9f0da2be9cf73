-- Takes back the claim of a request, if it stands exactly so.
-- KEYS: claim
-- ARGV: the claim, as it is stored
-- Reply: 1 taken back, 0 otherwise
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
