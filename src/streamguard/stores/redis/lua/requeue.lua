-- Makes a dead letter work again, with no attempts behind it; anything else that is owed stays as it is.
-- KEYS: meta_key
-- ARGV: saves (whether a save is among what is owed: one on record as not made is pending again)
-- Reply: OK, DUPLICATE (owed, and no dead letter), GONE (nothing owed) or CORRUPT
--@include status
--@include is_newer
local version, state, payload, dead, persisted =
  unpack(redis.call('HMGET', meta_key, @version@, @state@, @payload@, @dead@, @persisted@))
if not version then return GONE end
if is_newer(version) then return CORRUPT end
if state ~= 'c' or not payload then return GONE end
if not dead then return DUPLICATE end
redis.call('HDEL', meta_key, @dead@, @attempts@, @left_since@)
if saves and persisted == 'no' then redis.call('HSET', meta_key, @persisted@, 'pending') end
return OK
