-- What every script on an owner's ledger begins with; ledger.py says the same in Python.
-- It needs the keys and the arguments of `LedgerCall`: ledger_key, records_key, open_key, done_key; late_ms (how long what
-- expired is remembered) and ttl_ms (of the keys).
--
-- The ledger is a hash: `v` format version, `ow` owner in clear, `t` TTL (ms), `x` number of conflicts, and the counters
-- `w:<unit>:<period in ms>`, JSON: number of the window, used, held, folded. Records are a hash by reservation, JSON:
-- {state, deadline, '1' if committed late, {{unit, reserved, charged}, …}, {{unit, period, number of the window}, …}}.
-- Open and done are sorted sets of reservations: the held ones by deadline, the settled ones by when to forget them.
-- Numbers are stored as text, since cjson writes fourteen digits only.
--@include now_ms
local version = redis.call('HGET', ledger_key, 'v')
if version and tonumber(version) > @FORMAT_VERSION@ then return {'newer'} end

local at, windows, changed_ledger = now_ms(), {}, false

local function whole(number)
  return string.format('%.0f', number)
end

-- The counters of the present window: its number, used, held, folded.
local function window(unit, period)
  local name = 'w:' .. unit .. ':' .. period
  if not windows[name] then
    local text = redis.call('HGET', ledger_key, name)
    local number, used, held, folded = unpack(text and cjson.decode(text) or {0, 0, 0, 0})
    local counters = {number = tonumber(number), used = tonumber(used), held = tonumber(held), folded = tonumber(folded)}
    local present = math.floor((at - @ANCHOR_MS@) / period)
    if present > counters.number then counters = {number = present, used = 0, held = 0, folded = 0} end
    windows[name] = counters
  end
  return windows[name]
end

-- Calls `count` with each window that a record counts in and is not past, and with the record's amount of its unit.
local function counting(record, count)
  for _, place in ipairs(record.places) do
    local counters = window(place.unit, place.period)
    if counters.number == tonumber(place.number) then
      for _, amount in ipairs(record.amounts) do
        if amount.unit == place.unit then count(counters, amount) end
      end
    end
  end
end

local function load(id)
  local text = redis.call('HGET', records_key, id)
  if not text then return nil end
  local state, deadline, late, stored_amounts, stored_places = unpack(cjson.decode(text))
  local amounts, places = {}, {}
  for i, stored in ipairs(stored_amounts) do
    local unit, reserved, charged = unpack(stored)
    amounts[i] = {unit = unit, reserved = reserved, charged = charged}
  end
  for i, stored in ipairs(stored_places) do
    local unit, period, number = unpack(stored)
    places[i] = {unit = unit, period = period, number = number}
  end
  return {state = state, deadline = deadline, late = late, amounts = amounts, places = places}
end

local function keep(id, record)
  local amounts, places = {}, {}
  for i, amount in ipairs(record.amounts) do amounts[i] = {amount.unit, amount.reserved, amount.charged} end
  for i, place in ipairs(record.places) do places[i] = {place.unit, place.period, place.number} end
  redis.call('HSET', records_key, id, cjson.encode({record.state, record.deadline, record.late, amounts, places}))
  changed_ledger = true
end

-- Ends a reservation: frees what it holds, charges what its amounts say. ZREM comes first: a server whose memory is
-- full refuses a script whose first write needs memory, and ending reservations must go on there.
local function finish(id, record, state, forget_at)
  redis.call('ZREM', open_key, id)
  local held = record.state == 'reserved'
  counting(record, function(counters, amount)
    if held then counters.held = counters.held - amount.reserved end
    counters.used = math.min(counters.used + amount.charged, @MAX_AMOUNT@)
  end)
  record.state = state
  keep(id, record)
  redis.call('ZADD', done_key, forget_at, id)
end

local expired_now = {} -- what expired in this step

local function expire(id, record)
  expired_now[id] = true
  finish(id, record, 'expired', record.deadline + late_ms)
end

-- A reservation, expired if its time has come; nil when there is none.
local function find(id)
  local record = load(id)
  if record and record.state == 'reserved' and tonumber(record.deadline) <= at then expire(id, record) end
  return record
end

-- Counts a step that contradicted what stands.
local function contradicted()
  redis.call('HINCRBY', ledger_key, 'x', 1)
  changed_ledger = true
end

-- A reservation for the reply, as `Shown` in calls.py reads it: the amounts are unit, reserved, charged of each.
local function shown(record)
  local amounts = {}
  for _, amount in ipairs(record.amounts) do
    amounts[#amounts + 1] = amount.unit
    amounts[#amounts + 1] = amount.reserved
    amounts[#amounts + 1] = amount.charged
  end
  return {record.state, record.state == 'reserved' and record.deadline - at or 0, record.late, amounts}
end

-- How the owner stands: {used, held, until it resets (ms), …}, for the quotas in ARGV from `first`, `width` words each:
-- unit and period (ms) come first.
local function standings(first, width)
  local found = {}
  for i = first, #ARGV, width do
    local unit, period = ARGV[i], ARGV[i + 1]
    local counters = window(unit, period)
    found[#found + 1] = counters.used
    found[#found + 1] = counters.held
    found[#found + 1] = (counters.number + 1) * period + @ANCHOR_MS@ - at
  end
  return found
end

-- Writes the counters, if anything changed, and renews every key.
local function save()
  if not changed_ledger then return end
  local ttl = math.max(tonumber(redis.call('HGET', ledger_key, 't') or 0), ttl_ms)
  for name, counters in pairs(windows) do
    redis.call('HSET', ledger_key, name, cjson.encode(
      {whole(counters.number), whole(counters.used), whole(counters.held), whole(counters.folded)}))
  end
  for _, key in ipairs({ledger_key, records_key, open_key, done_key}) do redis.call('PEXPIRE', key, ttl) end
end

-- Lets expire, and forgets, what is due.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', open_key, '-inf', at, 'LIMIT', 0, @SWEEP@)) do
  local record = load(id)
  if record and record.state == 'reserved' then
    expire(id, record)
  else
    redis.call('ZREM', open_key, id)
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', done_key, '-inf', at, 'LIMIT', 0, @SWEEP@)) do
  local record = load(id)
  redis.call('ZREM', done_key, id)
  redis.call('HDEL', records_key, id)
  if record then
    counting(record, function(counters, amount)
      counters.folded = math.min(counters.folded + amount.charged, @MAX_AMOUNT@)
    end)
  end
  changed_ledger = true
end
