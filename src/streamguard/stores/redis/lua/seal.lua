-- Decides how a stream ended; the first decision stands.
-- KEYS: meta_key, log_key
-- ARGV: epoch, last_seq, seal (JSON), usage (JSON or ''), held (closing parts, packed)
-- Reply: {status [, seal, seal_seq (its last event), usage, held: the seal that stands]}
--@include status
--@include is_newer
--@include publish_change
--@include last_of
--@include shut
local version, stored_epoch, state, stored_seq, lost, stop =
  unpack(redis.call('HMGET', meta_key, @version@, @epoch@, @state@, @last_seq@, @lost@, @stop@))
if not version then return {GONE} end
if is_newer(version) then return {CORRUPT} end
if state ~= 'o' then
  return {SEALED, unpack(redis.call('HMGET', meta_key, @seal@, @seal_seq@, @usage@, @held@))}
end
if stored_epoch ~= epoch then return {FENCED} end
if lost == '1' then return {LOST} end
if last_of(log_key, stored_seq) ~= tonumber(last_seq) then return {GAP} end
shut(log_key, epoch)
redis.call('HSET', meta_key, @state@, 's', @last_seq@, last_seq, @seal@, seal, @seal_seq@, last_seq, @usage@, usage,
  @held@, held)
publish_change(meta_key, tonumber(stop) or 0)
return {OK, seal, last_seq, usage, held}
