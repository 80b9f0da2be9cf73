-- Reads the records of a session's streams, the latest by ordinal first, a part of them at a time.
-- KEYS: session_key, streams_key, still_key (see keys.py)
-- ARGV: meta_prefix (what the session's meta keys begin with), log_prefix (its log keys), count (at most), skipped (how
--       many to pass over)
-- Reply: {status [, looked_at (how many), more (1 or 0), found… (stream id and snapshot of each)]}
-- The streams' keys share KEYS' hash tag, so they are on this node. Streams that expired may still be in the set: they are
-- looked at, and not given; neither is what is of another type.
--@include status
--@include now_ms
--@include is_newer
--@include fields
--@include snapshot
local at = now_ms()
local version = redis.call('HGET', session_key, 'v')
if version and is_newer(version) then return {CORRUPT} end
local ids = redis.call('ZREVRANGEBYSCORE', streams_key, '+inf', '-inf', 'LIMIT', skipped, count)
local reply = {OK, #ids, #ids == count and 1 or 0}
for _, id in ipairs(ids) do
  local meta_key = meta_prefix .. id
  local found = fields(meta_key, @version@) and snapshot(meta_key, log_prefix .. id, at)
  if found then
    reply[#reply + 1] = id
    reply[#reply + 1] = found
  end
end
return reply
