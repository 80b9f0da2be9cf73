-- What every script needs of a session.
-- A session is one hash, so that it lives and dies as a whole. Its fields: `v` format version, `n` number of messages,
-- `br` how often its history was superseded, `ow` and `se` owner and session id in clear; `i:<message id>` the positions
-- of a message's versions, oldest first, with commas between; per position `k:` its id, `b:` all else of it, `w:` its
-- writers with their digests, `s:` status, `c:` created and `u:` updated (ms), `g:` the branch it was stored in, `x:` the
-- branch that superseded it, if any, `r:` '+' and the id of what it answers, if any; per branch from 1 on `p:`, the
-- superseding that made it; `y:<stream id>` the branch that a stream made.

-- The store's clock, in whole milliseconds.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Whether a later version of this library wrote a session: such a one is left as it is.
local function is_newer(version)
  return tonumber(version) > @FORMAT_VERSION@
end

-- One message, as `Record` in calls.py reads it.
local function record(position)
  return {position, unpack(redis.call('HMGET', session_key, 'k:' .. position, 'b:' .. position, 'w:' .. position,
    's:' .. position, 'c:' .. position, 'u:' .. position, 'g:' .. position, 'x:' .. position))}
end
