-- Tries commands, and says which of them failed and how.
-- KEYS: probe_key (a text that only this script uses)
-- ARGV: ttl_ms (the text's), commands… (of each the number of its words, its name, and its other words; a word `@` is the
--       key, and `@c` a channel named after it)
-- Reply: name and error of each that failed
-- Most commands are of the wrong type for a text, and change nothing; whether they are allowed is looked at first. The
-- last ones remove the text.
local failed = {}
local function try(words)
  local reply = redis.pcall(unpack(words))
  if type(reply) == 'table' and reply.err then
    failed[#failed + 1] = words[1]
    failed[#failed + 1] = reply.err
    return false
  end
  return true
end
local made = try({'SET', probe_key, '1', 'PX', ttl_ms})
local at = commands_from
while at <= #ARGV do
  local words = {}
  for i = 1, tonumber(ARGV[at]) do
    local word = ARGV[at + i]
    words[i] = word == '@' and probe_key or word == '@c' and probe_key .. ':c' or word
  end
  -- Without the text these would make a key that lives for ever.
  if made or (words[1] ~= 'HSET' and words[1] ~= 'HINCRBY') then try(words) end
  at = at + #words + 1
end
return failed
