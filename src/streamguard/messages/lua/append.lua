-- Stores a message, once.
-- KEYS: session
-- ARGV: TTL (ms), message id, its writer, the writer it continues or '', digest, status, all else of it (JSON)
-- Reply: 'created', 'continued' or 'duplicate'; or why it was not: 'missing', 'newer', 'absent', 'differs', 'taken'
-- A writer is '+' and a stream id, or '-' for none.
--@include prelude
local s = redis.call('HMGET', KEYS[1], 'v', 'n', 'i:' .. ARGV[2])
if not s[1] then return 'missing' end
if newer(s[1]) then return 'newer' end
local at, position, writers, answer = now(), s[3], {}, 'created'
if position then
  writers = cjson.decode(redis.call('HGET', KEYS[1], 'w:' .. position))
  for _, writer in ipairs(writers) do
    if writer[1] == ARGV[3] then
      if writer[2] ~= ARGV[5] then return 'differs' end
      redis.call('PEXPIRE', KEYS[1], ARGV[1])
      return 'duplicate'
    end
  end
  if writers[#writers][1] ~= ARGV[4] then return 'taken' end
  answer = 'continued'
else
  if ARGV[4] ~= '' then return 'absent' end
  position = s[2] + 1
  redis.call('HSET', KEYS[1], 'n', position, 'i:' .. ARGV[2], position, 'k:' .. position, ARGV[2],
    'c:' .. position, at)
end
writers[#writers + 1] = {ARGV[3], ARGV[5]}
redis.call('HSET', KEYS[1], 'b:' .. position, ARGV[7], 'w:' .. position, cjson.encode(writers),
  's:' .. position, ARGV[6], 'u:' .. position, at)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return answer
