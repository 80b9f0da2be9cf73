-- Asks a stream's writer to stop.
-- KEYS: meta_key, log_key
-- ARGV: none
-- Reply: 'requested', 'expired' (asked too, but the writer's lease ran out), 'ended' (or unknown) or 'newer'
--@include now_ms
--@include is_newer
--@include publish_change
--@include shut
--@include tell_worker
local version, state, lease_until, epoch, worker =
  unpack(redis.call('HMGET', meta_key, @version@, @state@, @lease_until@, @epoch@, @worker@))
if not version then return 'ended' end
if is_newer(version) then return 'newer' end
if state ~= 'o' then return 'ended' end
redis.call('HSET', meta_key, @stop@, 1)
shut(log_key, epoch)
tell_worker(meta_key, worker, epoch, 1)
publish_change(meta_key, 1)
return tonumber(lease_until) > now_ms() and 'requested' or 'expired'
