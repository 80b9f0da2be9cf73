-- Leaves what a stream owes to a worker that knows more. Neither counts as an attempt nor keeps the stream.
-- KEYS: meta_key
-- ARGV: reason
-- Reply: {status [, left_ms]}: {OK, for how long all workers have left it}, {GONE} (nothing owed, or a dead letter) or
--        {CORRUPT}
--@include status
--@include now_ms
--@include is_newer
local version, state, payload, dead, left_since =
  unpack(redis.call('HMGET', meta_key, @version@, @state@, @payload@, @dead@, @left_since@))
if not version then return {GONE} end
if is_newer(version) then return {CORRUPT} end
if state ~= 'c' or not payload or dead then return {GONE} end
local at = now_ms()
local since = tonumber(left_since) or at
redis.call('HSET', meta_key, @left_since@, since, @reason@, reason)
return {OK, at - since}
