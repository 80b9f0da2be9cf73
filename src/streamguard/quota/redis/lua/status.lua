-- Tells how an owner stands.
-- KEYS: ledger, records, open, done
-- ARGV: late, remember, TTL (ms); from now on how soon a reservation expires that nobody renews (ms), how far to count
--       those, unit and period (ms) of each quota
-- Reply: {'found', how many nobody renews, standings} or {'newer'}
--@include ledger
save()
local pending = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', at + ARGV[4], 'LIMIT', 0, ARGV[5])
return {'found', #pending, standings(6, 2)}
