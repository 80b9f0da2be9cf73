-- Keeps what a worker says of itself, in place of its last report; '' takes that away.
-- KEYS: workers_key, reports_key
-- ARGV: worker, report, keep_ms, most (workers, at most)
-- Reply: 1, or 0 when there are too many
--@include now_ms
--@include fields
--@include reset_unless_sorted
local at = now_ms()
if reset_unless_sorted(workers_key) or not fields(reports_key, worker) then redis.call('UNLINK', workers_key, reports_key) end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', workers_key, '-inf', at, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', workers_key, gone)
  redis.call('HDEL', reports_key, gone)
end
if report == '' then
  redis.call('ZREM', workers_key, worker)
  redis.call('HDEL', reports_key, worker)
  return 1
end
if not redis.call('ZSCORE', workers_key, worker) and redis.call('ZCARD', workers_key) >= most then return 0 end
redis.call('ZADD', workers_key, string.format('%.0f', at + keep_ms), worker)
redis.call('HSET', reports_key, worker, string.format('%.0f', at) .. ':' .. report)
for _, key in ipairs({workers_key, reports_key}) do
  if redis.call('PTTL', key) < keep_ms then redis.call('PEXPIRE', key, keep_ms) end
end
return 1
