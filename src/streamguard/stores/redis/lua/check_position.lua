-- Reads a stream's record, and whether its log holds one event.
-- KEYS: meta, log
-- ARGV: the event's id in the log or ''
-- Reply: {snapshot or nil, 1 or 0}
--@include time
--@include snapshot
local held = ARGV[1] == '' or #redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1]) == 1
return {snapshot(KEYS[1], KEYS[2], now()), held and 1 or 0}
