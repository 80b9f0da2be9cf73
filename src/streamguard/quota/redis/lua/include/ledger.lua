-- What every script on an owner's ledger begins with; ledger.py says the same in Python.
-- KEYS: ledger, records, open, done
-- ARGV: how long what expired is remembered (ms), how long what was settled is (ms), the keys' TTL (ms), …
--
-- The ledger is a hash: `v` format version, `ow` owner in clear, `t` TTL (ms), `x` number of conflicts, and the counters
-- `w:<unit>:<period in ms>`, JSON: number of the window, used, held, folded. Records are a hash by reservation, JSON:
-- {state, deadline, '1' if committed late, {{unit, reserved, charged}, …}, {{unit, period, number of the window}, …}}.
-- Open and done are sorted sets of reservations: the held ones by deadline, the settled ones by when to forget them.
-- Numbers are stored as text, since cjson writes fourteen digits only.
--@include clock
local version = redis.call('HGET', KEYS[1], 'v')
if version and tonumber(version) > @FORMAT_VERSION@ then return {'newer'} end

local at, windows, written = now(), {}, false

local function whole(number)
  return string.format('%.0f', number)
end

-- The counters of the present window: its number, used, held, folded.
local function window(unit, period)
  local name = 'w:' .. unit .. ':' .. period
  if not windows[name] then
    local text = redis.call('HGET', KEYS[1], name)
    local found = text and cjson.decode(text) or {0, 0, 0, 0}
    for i = 1, 4 do found[i] = tonumber(found[i]) end
    local index = math.floor((at - @ANCHOR_MS@) / period)
    if index > found[1] then found = {index, 0, 0, 0} end
    windows[name] = found
  end
  return windows[name]
end

-- Calls `count` with each window that a record counts in and is not past, and with the record's amount of its unit.
local function counting(record, count)
  for _, one in ipairs(record[5]) do
    local found = window(one[1], one[2])
    if found[1] == tonumber(one[3]) then
      for _, amount in ipairs(record[4]) do
        if amount[1] == one[1] then count(found, amount) end
      end
    end
  end
end

local function keep(id, record)
  redis.call('HSET', KEYS[2], id, cjson.encode(record))
  written = true
end

-- Ends a reservation: frees what it holds, charges what its amounts say. ZREM comes first: a server whose memory is
-- full refuses a script whose first write needs memory, and ending reservations must go on there.
local function finish(id, record, state, forget_at)
  redis.call('ZREM', KEYS[3], id)
  local held = record[1] == 'reserved'
  counting(record, function(found, amount)
    if held then found[3] = found[3] - amount[2] end
    found[2] = math.min(found[2] + amount[3], @MAX_AMOUNT@)
  end)
  record[1] = state
  keep(id, record)
  redis.call('ZADD', KEYS[4], forget_at, id)
end

local ended = {} -- what expired in this step

local function expire(id, record)
  ended[id] = true
  finish(id, record, 'expired', record[2] + ARGV[1])
end

local function load(id)
  local text = redis.call('HGET', KEYS[2], id)
  return text and cjson.decode(text)
end

-- A reservation, expired if its time has come; nil when there is none.
local function find(id)
  local record = load(id)
  if record and record[1] == 'reserved' and tonumber(record[2]) <= at then expire(id, record) end
  return record or nil
end

-- Counts a step that contradicted what stands.
local function contradicted()
  redis.call('HINCRBY', KEYS[1], 'x', 1)
  written = true
end

-- A reservation for the reply: state, what is left of it (ms), whether it is late, {unit, reserved, charged, …}.
local function shown(record)
  local amounts = {}
  for _, amount in ipairs(record[4]) do
    for i = 1, 3 do amounts[#amounts + 1] = amount[i] end
  end
  return {record[1], record[1] == 'reserved' and record[2] - at or 0, record[3], amounts}
end

-- How the owner stands: {used, held, until it resets (ms), …}, for the quotas in ARGV from `first`, `width` each.
local function standings(first, width)
  local found = {}
  for i = first, #ARGV, width do
    local one = window(ARGV[i], ARGV[i + 1])
    found[#found + 1] = one[2]
    found[#found + 1] = one[3]
    found[#found + 1] = (one[1] + 1) * ARGV[i + 1] + @ANCHOR_MS@ - at
  end
  return found
end

-- Writes the counters, if anything changed, and renews every key.
local function save()
  if not written then return end
  local ttl = math.max(tonumber(redis.call('HGET', KEYS[1], 't') or 0), tonumber(ARGV[3]))
  for name, found in pairs(windows) do
    redis.call('HSET', KEYS[1], name,
      cjson.encode({whole(found[1]), whole(found[2]), whole(found[3]), whole(found[4])}))
  end
  for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], ttl) end
end

-- Lets expire, and forgets, what is due.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', at, 'LIMIT', 0, @SWEEP@)) do
  local record = load(id)
  if record and record[1] == 'reserved' then
    expire(id, record)
  else
    redis.call('ZREM', KEYS[3], id)
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', at, 'LIMIT', 0, @SWEEP@)) do
  local record = load(id)
  redis.call('ZREM', KEYS[4], id)
  redis.call('HDEL', KEYS[2], id)
  if record then
    counting(record, function(found, amount) found[4] = math.min(found[4] + amount[3], @MAX_AMOUNT@) end)
  end
  written = true
end
