-- Renews a writer's lease and the TTLs of its stream's keys.
-- KEYS: meta, log, session, streams
-- ARGV: epoch, lease (ms), TTL (ms), usage so far (JSON or '')
-- Reply: {status, last event, stop flag}; the time (ms) follows where it was renewed
--@include status
--@include time
--@include extend
local m = redis.call('HMGET', KEYS[1], 'e', 's', 'n', 'x', 'p')
if not m[1] then return {GONE, 0, 0} end
local last, stop = tonumber(m[3]), tonumber(m[5])
if m[1] ~= ARGV[1] then return {FENCED, last, stop} end
if m[2] == 'c' then return {SEALED, last, stop} end
local log = redis.call('PEXPIRE', KEYS[2], ARGV[3])
if log == 0 and last > 0 and m[4] == '0' then return {GONE, 0, stop} end
local at = now()
redis.call('HSET', KEYS[1], 'd', at + ARGV[2])
if ARGV[4] ~= '' and m[2] == 'o' then redis.call('HSET', KEYS[1], 'u', ARGV[4]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
extend(KEYS[3], ARGV[3])
extend(KEYS[4], ARGV[3])
return {OK, last, stop, at}
