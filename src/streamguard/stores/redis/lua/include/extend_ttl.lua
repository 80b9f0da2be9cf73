-- Gives a key at least `ms` to live, never less than it has. From Redis 7 on, `GT` nearly always does that in one command
-- instead of two. It does nothing for a key that lives longer, or for ever: which of them it is, is asked then.
local takes_gt = (redis.REDIS_VERSION_NUM or 0) >= 0x70000
local function extend_ttl(key, ms)
  if takes_gt and redis.call('PEXPIRE', key, ms, 'GT') == 1 then return end
  if redis.call('PTTL', key) < tonumber(ms) then redis.call('PEXPIRE', key, ms) end
end
