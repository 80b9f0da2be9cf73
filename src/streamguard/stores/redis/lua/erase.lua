-- Deletes every stream of a session and leaves the erasure mark.
-- KEYS: session_key, streams_key, erased_key (the mark), stopped_key (when its pending requests were stopped),
--       still_key (see keys.py), stops_key (the owner's sessions of which that is so)
-- ARGV: meta_prefix (what the session's meta keys begin with), log_prefix (its log keys), mark_ms (the mark's lifetime),
--       unknown_mark_ms (that of a session of which nothing is known), searched (whether its keys were searched for),
--       found_ids… (of streams that were found so)
-- Reply: {answer, stream_ids…}: {'erased', id of each deleted stream, …}; or nothing was deleted: {'search'}: it may have
--        streams that no list names, or {'newer'}: a later version wrote something of it
-- The streams' keys share KEYS' hash tag, so they are on this node. Nothing here depends on what a key holds: what cannot
-- be read is deleted all the same.
--@include now_us
--@include is_newer
--@include fields
--@include reset_unless_sorted
--@include publish_change
--@include tell_worker
local function has_newer_version(found)
  return found and found[1] and tonumber(found[1]) and is_newer(found[1])
end
local session = fields(session_key, 'v', 'active', 'last', 'lost')
if has_newer_version(session) then return {'newer'} end
local version, active, last, lost = unpack(session or {})
local listed = redis.pcall('ZRANGE', streams_key, 0, -1)
local unnamed = false
if listed.err then
  if not string.find(listed.err, 'WRONGTYPE', 1, true) then error(listed.err, 0) end
  listed, unnamed = {}, true
end
if lost or (version and #listed == 0) then unnamed = true end
if unnamed and not searched then return {'search'} end
listed[#listed + 1] = active or ''
listed[#listed + 1] = last or ''
for i = found_ids_from, #ARGV do -- one by one: `unpack` takes about 8,000
  listed[#listed + 1] = ARGV[i]
end
local ids, seen = {}, {['']=true}
for _, id in ipairs(listed) do
  if not seen[id] then
    seen[id] = true
    ids[#ids + 1] = id
    if has_newer_version(fields(meta_prefix .. id, @version@)) then return {'newer'} end
  end
end
local reply, at_us = {'erased'}, now_us()
for _, id in ipairs(ids) do
  local meta_key = meta_prefix .. id
  -- The mark is later than all it erases, whatever became of the clock meanwhile.
  local began_us, state, worker = unpack(fields(meta_key, @began_us@, @state@, @worker@) or {})
  at_us = math.max(at_us, tonumber(began_us) or 0)
  redis.call('UNLINK', meta_key, log_prefix .. id, meta_key .. ':w')
  if state ~= 'c' then tell_worker(meta_key, worker, 0, 0) end
  publish_change(meta_key, 0)
  reply[#reply + 1] = id
end
local known = not session or version or unnamed or ids[1]
redis.call('DEL', session_key, streams_key, stopped_key)
if stops_key and not reset_unless_sorted(stops_key) then redis.call('ZREM', stops_key, stopped_key) end
-- A mark that is there lasts no shorter: it may be that of a session that was known.
local lifetime_ms = math.max(redis.call('PTTL', erased_key), known and mark_ms or unknown_mark_ms)
redis.call('SET', erased_key, digits(at_us), 'PX', lifetime_ms)
return reply
