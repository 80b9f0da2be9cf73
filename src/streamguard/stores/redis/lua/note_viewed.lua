-- Notes that a stream is viewed outside its writer's process.
-- KEYS: meta_key
-- ARGV: none
-- Reply: 1, or 0 when it is not open, or a later version wrote it
--@include now_ms
--@include is_newer
local version, state = unpack(redis.call('HMGET', meta_key, @version@, @state@))
if not version or is_newer(version) or state ~= 'o' then return 0 end
redis.call('HSET', meta_key, @viewed_ms@, now_ms())
return 1
