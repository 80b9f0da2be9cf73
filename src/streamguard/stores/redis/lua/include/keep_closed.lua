-- Gives a closed stream's record and log `ms` to live, and its session's keys at least that.
local function keep_closed(ms)
  redis.call('PEXPIRE', meta_key, ms)
  redis.call('PEXPIRE', log_key, ms)
  extend_ttl(session_key, ms)
  extend_ttl(streams_key, ms)
end
