-- Reads a session's erasure mark.
-- KEYS: erasure mark
-- ARGV: none
-- Reply: {when it was erased, now: microseconds} or nil
--@include stamp
local mark = redis.call('GET', KEYS[1])
return mark and {mark, digits(stamp())}
