-- Says that a stream's events are watched for a while, so that appends publish them.
-- KEYS: meta, the note left for a stream that is not registered yet
-- ARGV: for how long (ms)
-- Reply: 1, or 0 when there is no such stream yet or a later version wrote it
--@include time
--@include newer
local version = redis.call('HGET', KEYS[1], 'v')
local until_ = now() + ARGV[1]
if not version then redis.call('SET', KEYS[2], until_, 'PX', ARGV[1]) end
if not version or newer(version) then return 0 end
redis.call('HSET', KEYS[1], 'w', until_)
return 1
