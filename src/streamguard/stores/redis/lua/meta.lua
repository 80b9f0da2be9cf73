-- Reads a stream's record.
-- KEYS: meta_key, log_key
-- ARGV: none
-- Reply: snapshot or nil
--@include now_ms
--@include snapshot
return snapshot(meta_key, log_key, now_ms())
