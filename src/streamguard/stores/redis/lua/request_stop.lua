-- Asks a stream's writer to stop.
-- KEYS: meta_key, log_key
-- ARGV: none
-- Reply: 'requested', 'expired' (asked too, but the writer's lease ran out), 'ended' (or unknown) or 'newer'
--@include now_ms
--@include is_newer
--@include publish_change
--@include shut
local version, state, lease_until, epoch =
  unpack(redis.call('HMGET', meta_key, @version@, @state@, @lease_until@, @epoch@))
if not version then return 'ended' end
if is_newer(version) then return 'newer' end
if state ~= 'o' then return 'ended' end
redis.call('HSET', meta_key, @stop@, 1)
shut(log_key, epoch)
publish_change(meta_key, 1)
return tonumber(lease_until) > now_ms() and 'requested' or 'expired'
