-- Gives a key at least `ms` to live, never less than it has. (PEXPIRE … GT came with Redis 7.)
local function extend_ttl(key, ms)
  if redis.call('PTTL', key) < tonumber(ms) then redis.call('PEXPIRE', key, ms) end
end
