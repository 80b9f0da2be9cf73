-- Reads a stream's record, and whether its log holds one event.
-- KEYS: meta_key, log_key
-- ARGV: entry_id (the event's id in the log, or '')
-- Reply: {snapshot (or nil), held (1 or 0)}
--@include now_ms
--@include snapshot
local held = entry_id == '' or #redis.call('XRANGE', log_key, entry_id, entry_id) == 1
return {snapshot(meta_key, log_key, now_ms()), held and 1 or 0}
