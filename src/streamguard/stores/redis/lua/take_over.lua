-- Raises a stream's epoch and takes its lease. The record keeps which epoch wrote the last event so far, and its number.
-- KEYS: meta_key, log_key
-- ARGV: lease_ms, expected_epoch (to take it from, or ''), force (while the lease runs),
--       worker (that takes it, or '')
-- Reply: {status [, snapshot]}
--@include status
--@include now_ms
--@include now_us
--@include is_newer
--@include snapshot
--@include publish_change
--@include last_of
--@include shut
--@include tell_worker
local at = now_ms()
local version, epoch, state, lease_until, stop, last_seq, last_writer, taken_seq, old_worker =
  unpack(redis.call('HMGET', meta_key, @version@, @epoch@, @state@, @lease_until@, @stop@, @last_seq@, @last_writer@,
    @taken_seq@, @worker@))
if not version then return {GONE} end
if is_newer(version) then return {CORRUPT} end
local status = OK
if state == 'c' then
  status = SEALED
elseif expected_epoch ~= '' and expected_epoch ~= epoch then
  status = FENCED
elseif not force and tonumber(lease_until) > at then
  status = LEASED
else
  last_seq = last_of(log_key, last_seq)
  -- No epoch is issued twice, not even after a rollback took back the last one.
  local next_epoch = math.max(epoch + 1, now_us())
  -- Who wrote the last event: the epoch that ends here, unless it wrote none.
  local writer = last_writer and last_seq <= tonumber(taken_seq) and last_writer or epoch
  redis.call('HSET', meta_key, @epoch@, digits(next_epoch), @lease_until@, at + lease_ms, @last_writer@, writer,
    @last_seq@, last_seq, @taken_seq@, last_seq)
  shut(log_key, digits(next_epoch))
  tell_worker(meta_key, old_worker, next_epoch, stop)
  if worker == '' then
    redis.call('HDEL', meta_key, @worker@)
  else
    redis.call('HSET', meta_key, @worker@, worker)
  end
  publish_change(meta_key, tonumber(stop) or 0)
end
return {status, snapshot(meta_key, log_key, at)}
