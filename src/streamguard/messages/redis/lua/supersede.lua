-- Replaces the end of the visible history.
-- KEYS: session
-- ARGV: TTL (ms), the stream that asks, '+' and the id of the first message to go or '', the same of the one before it, digest of the request, and of a message that comes with it: '+' and its id or '', writer, the writer it continues or '', digest, status, all else of it (JSON), '+' and the id of what it answers or ''
-- Reply: {'superseded', branch, how many are hidden, 'created', 'duplicate' or ''}; or why not: {'missing'}, {'newer'}, {'replaced'}, {'another'}, {'absent'}, {'differs'}, {'taken'}
--@include prelude
--@include versions
local by, start, after, request = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local s = redis.call('HMGET', KEYS[1], 'v', 'n', 'br', 'y:' .. by)
if not s[1] then return {'missing'} end
if newer(s[1]) then return {'newer'} end
if s[4] then
  local known = cjson.decode(redis.call('HGET', KEYS[1], 'p:' .. s[4]))
  if known.request ~= request then return {'another'} end
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  return {'superseded', tonumber(s[4]), known.hidden, known.appended}
end

-- The visible messages, and where each stands: behind what it answers (`anchor`), or at its own position.
local shown, questions = {}, {}
for first = 1, s[2] + 0, 200 do
  local fields = {}
  local last = math.min(first + 199, s[2])
  for position = first, last do
    fields[#fields + 1] = 'k:' .. position
    fields[#fields + 1] = 'x:' .. position
    fields[#fields + 1] = 'r:' .. position
  end
  local values = redis.call('HMGET', KEYS[1], unpack(fields))
  for position = first, last do
    local at = (position - first) * 3
    if not values[at + 2] then
      shown[#shown + 1] = {id = values[at + 1], position = position, anchor = position, answers = values[at + 3]}
      if not values[at + 3] then questions[values[at + 1]] = position end
    end
  end
end
local places = {}
for _, one in ipairs(shown) do
  one.anchor = one.answers and questions[string.sub(one.answers, 2)] or one.position
  places['+' .. one.id] = one
end

-- The place behind which everything goes.
local anchor, position
if places[start] then
  anchor, position = places[start].anchor, places[start].position - 1
elseif places[after] then
  anchor, position = places[after].anchor, places[after].position
else
  for _, one in ipairs({start, after}) do
    if one ~= '' and redis.call('HGET', KEYS[1], 'i:' .. string.sub(one, 2)) then return {'replaced'} end
  end
  anchor, position = 0, 0
  if after ~= '' then anchor, position = @LAST_POSITION@, @LAST_POSITION@ end
end
local function goes(one)
  return one.anchor > anchor or (one.anchor == anchor and one.position > position)
end

local appended, id = '', string.sub(ARGV[6], 2)
if ARGV[6] ~= '' then
  local there = places[ARGV[6]]
  local staying = there and not goes(there)
  if ARGV[8] ~= '' then return {staying and 'taken' or 'absent'} end
  appended = 'created'
  if staying then
    local before = written(there, ARGV[7])
    if before ~= ARGV[9] then return {before and 'differs' or 'taken'} end
    appended = 'duplicate'
  end
end

-- Nothing is refused from here on.
local branch, hidden = (s[3] or 0) + 1, 0
for _, one in ipairs(shown) do
  if goes(one) then
    redis.call('HSET', KEYS[1], 'x:' .. one.position, branch)
    hidden = hidden + 1
  end
end
redis.call('HSET', KEYS[1], 'br', branch, 'y:' .. by, branch, 'p:' .. branch, cjson.encode({start = start, after = after,
  request = request, anchor = anchor, position = position, hidden = hidden, appended = appended}))
if appended == 'created' then
  local positions = redis.call('HGET', KEYS[1], 'i:' .. id)
  add(s[2] + 1, id, positions, ARGV[7], ARGV[9], ARGV[10], ARGV[11], ARGV[12], branch, nil)
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {'superseded', branch, hidden, appended}
