-- Says that a closed stream owes nothing any more, sets the mutable fields of its record, and keeps it for a while.
-- KEYS: meta_key, log_key, session_key, streams_key, outbox_shard_key
-- ARGV: retention_ms, outbox_entry (its name in the outbox's index), fields… (name and value of each)
-- Reply: {status [, closed]}: {OK, 1 if it is closed or 0 if not (then only the fields were set)}, {GONE} or {CORRUPT}
-- The last key is on another slot: one server takes it too, in a cluster a step of its own follows. In a step of its own,
-- the entry could be removed from a server on which, after a failover, the work is owed again.
--@include status
--@include extend_ttl
--@include is_newer
--@include keep_closed
--@include reset_unless_sorted
local version, state = unpack(redis.call('HMGET', meta_key, @version@, @state@))
if not version then return {GONE} end
if is_newer(version) then return {CORRUPT} end
if #ARGV >= fields_from then redis.call('HSET', meta_key, unpack(ARGV, fields_from)) end
if state ~= 'c' then return {OK, 0} end
redis.call('HDEL', meta_key, @payload@, @attempts@, @reason@, @dead@, @left_since@)
keep_closed(retention_ms)
if outbox_shard_key and not reset_unless_sorted(outbox_shard_key) then
  redis.call('ZREM', outbox_shard_key, outbox_entry)
end
return {OK, 1}
