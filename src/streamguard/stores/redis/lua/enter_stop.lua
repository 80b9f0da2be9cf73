-- Lists a session whose pending requests were stopped among those of its owner, and takes the oldest off beyond a limit.
-- KEYS: stops_key (the owner's sessions of which that is so: names of marks, by when these expire (µs))
-- ARGV: mark (the name of the session's), stopped_ms (how long it lasts), limit (of how many sessions at once)
-- Reply: the marks that were taken off, to be deleted: they are on other slots
--@include now_us
--@include extend_ttl
--@include reset_unless_sorted
local at_us = now_us()
reset_unless_sorted(stops_key)
redis.call('ZREMRANGEBYSCORE', stops_key, '-inf', digits(at_us))
redis.call('ZADD', stops_key, digits(at_us + stopped_ms * 1000), mark)
local oldest = redis.call('ZRANGE', stops_key, 0, -limit - 1)
for _, one in ipairs(oldest) do redis.call('ZREM', stops_key, one) end
extend_ttl(stops_key, stopped_ms)
return oldest
