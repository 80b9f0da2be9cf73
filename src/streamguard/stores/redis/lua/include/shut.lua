-- Which ids a log still takes: Redis refuses every XADD whose id is not higher than the log's last one.
local function set_last_id(log_key, id)
  local done = redis.pcall('XSETID', log_key, id)
  -- A log that is missing takes no XADD with NOMKSTREAM, and one of another type or with an entry beyond none at all.
  if done.err and not (string.find(done.err, 'no such key', 1, true) or string.find(done.err, 'WRONGTYPE', 1, true)
    or string.find(done.err, 'smaller than', 1, true)) then
    error(done.err, 0)
  end
end
-- Shuts a log for every XADD under this epoch or an older one. Whatever a stream's writer has to learn with its next
-- append shuts its log, in the same step.
local function shut(log_key, epoch)
  set_last_id(log_key, epoch .. '-18446744073709551615')
end
-- Opens it for the event after `last`: for a script that has checked everything anew.
local function reopen(log_key, epoch, last)
  set_last_id(log_key, epoch .. '-' .. last)
end
