-- Gives a closed stream's record and log `ms` to live, and its session's keys at least that. KEYS: meta, log, session,
-- streams.
local function keep(ms)
  redis.call('PEXPIRE', KEYS[1], ms)
  redis.call('PEXPIRE', KEYS[2], ms)
  extend(KEYS[3], ms)
  extend(KEYS[4], ms)
end
