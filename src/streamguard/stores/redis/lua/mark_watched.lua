-- Says that a stream's events are watched for a while, so that appends publish them.
-- KEYS: meta_key, log_key, watch_note_key (left for a stream that is not registered yet)
-- ARGV: watched_ms (for how long)
-- Reply: 1, or 0 when there is no such stream yet or a later version wrote it
--@include now_ms
--@include is_newer
--@include shut
local version, state, epoch = unpack(redis.call('HMGET', meta_key, @version@, @state@, @epoch@))
local watched_until = now_ms() + watched_ms
if not version then redis.call('SET', watch_note_key, watched_until, 'PX', watched_ms) end
if not version or is_newer(version) then return 0 end
redis.call('HSET', meta_key, @watched_until@, watched_until)
if state == 'o' then shut(log_key, epoch) end
return 1
