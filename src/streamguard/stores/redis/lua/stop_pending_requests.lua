-- Stops those answers of a session whose requests have arrived by now, unless one is running.
-- KEYS: session, when its coming answers were stopped, the owner's sessions of which that is so
-- ARGV: what the session's meta keys begin with, for how long (ms), of how many sessions at once
-- Reply: 'marked', 'running' (nothing was changed) or 'newer'
-- The members of the last key are the names of keys like the second, by when they expire (µs). They are on other slots, as
-- that key itself is: one server takes that, a cluster needs steps of their own for them.
--@include time
--@include stamp
--@include extend
--@include newer
--@include fields
--@include sorted
local session = fields(KEYS[1], 'v', 'active')
if session and tonumber(session[1] or '') and newer(session[1]) then return 'newer' end
if session and session[2] then
  local active = fields(ARGV[1] .. session[2], 'v', 's')
  if active and tonumber(active[1] or '') then
    if newer(active[1]) then return 'newer' end
    if active[2] == 'o' then return 'running' end
  end
end
local at = stamp()
mended(KEYS[3])
redis.call('SET', KEYS[2], digits(at), 'PX', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', digits(at))
redis.call('ZADD', KEYS[3], digits(at + ARGV[2] * 1000), KEYS[2])
for _, oldest in ipairs(redis.call('ZRANGE', KEYS[3], 0, -ARGV[3] - 1)) do
  redis.call('DEL', oldest)
  redis.call('ZREM', KEYS[3], oldest)
end
extend(KEYS[3], ARGV[2])
return 'marked'
