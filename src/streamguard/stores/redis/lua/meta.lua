-- Reads a stream's record.
-- KEYS: meta, log
-- ARGV: none
-- Reply: snapshot or nil
--@include time
--@include snapshot
return snapshot(KEYS[1], KEYS[2], now())
