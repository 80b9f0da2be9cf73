-- Stops the pending requests of a session, those that have arrived by now, unless a stream of it is running.
-- KEYS: session_key, stopped_key (when its pending requests were stopped), still_key (see keys.py), stops_key (the
--       owner's sessions of which that is so)
-- ARGV: meta_prefix (what the session's meta keys begin with), stopped_ms, limit (of how many sessions at once)
-- Reply: 'marked', 'running' (nothing was changed) or 'newer'
-- The members of the last key are the names of keys like the second, by when they expire (µs). They are on other slots, as
-- that key itself is: one server takes that, in a cluster enter_stop.lua follows.
--@include now_us
--@include extend_ttl
--@include is_newer
--@include fields
--@include reset_unless_sorted
local session_version, active = unpack(fields(session_key, 'v', 'active') or {})
if tonumber(session_version) and is_newer(session_version) then return 'newer' end
if active then
  local version, state = unpack(fields(meta_prefix .. active, @version@, @state@) or {})
  if tonumber(version) then
    if is_newer(version) then return 'newer' end
    if state == 'o' then return 'running' end
  end
end
local at_us = now_us()
if stops_key then reset_unless_sorted(stops_key) end
redis.call('SET', stopped_key, digits(at_us), 'PX', stopped_ms)
if not stops_key then return 'marked' end
redis.call('ZREMRANGEBYSCORE', stops_key, '-inf', digits(at_us))
redis.call('ZADD', stops_key, digits(at_us + stopped_ms * 1000), stopped_key)
for _, oldest in ipairs(redis.call('ZRANGE', stops_key, 0, -limit - 1)) do
  redis.call('DEL', oldest)
  redis.call('ZREM', stops_key, oldest)
end
extend_ttl(stops_key, stopped_ms)
return 'marked'
