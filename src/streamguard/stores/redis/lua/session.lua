-- Reads a session's pointers and the records they point to.
-- KEYS: session_key, still_key (see keys.py)
-- ARGV: meta_prefix (what the session's meta keys begin with), log_prefix (its log keys)
-- Reply: {status [, active_id, active (its snapshot), last_id, last (its snapshot)]}; each may be nil
-- The streams' keys share KEYS' hash tag, so they are on this node.
--@include status
--@include now_ms
--@include is_newer
--@include snapshot
local at = now_ms()
local version, active_id, last_id = unpack(redis.call('HMGET', session_key, 'v', 'active', 'last'))
if version and is_newer(version) then return {CORRUPT} end
local active = active_id and snapshot(meta_prefix .. active_id, log_prefix .. active_id, at)
local last = last_id and snapshot(meta_prefix .. last_id, log_prefix .. last_id, at)
return {OK, active_id, active, last_id, last}
