-- Reads a session's erasure mark.
-- KEYS: erased_key
-- ARGV: none
-- Reply: {erased_us, at_us}: when it was erased, and the time now (microseconds); or nil
--@include now_us
local mark = redis.call('GET', erased_key)
return mark and {mark, digits(now_us())}
