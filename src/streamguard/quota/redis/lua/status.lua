-- Tells how an owner stands.
-- KEYS: ledger_key, records_key, open_key, done_key
-- ARGV: late_ms, ttl_ms, stale_ms (from now on how soon a reservation expires that nobody renews),
--       most_pending (how far to count those), quotas… (unit and period (ms) of each)
-- Reply: {answer [, pending, standings]}: {'found', how many nobody renews, standings} or {'newer'}
--@include ledger
save()
local pending = redis.call('ZRANGEBYSCORE', open_key, '-inf', at + stale_ms, 'LIMIT', 0, most_pending)
return {'found', #pending, standings(quotas_from, 2)}
