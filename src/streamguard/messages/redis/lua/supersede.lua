-- Replaces the end of the visible history.
-- KEYS: session_key
-- ARGV: ttl_ms, by (the stream that asks), start ('+' and the id of the first message to go, or ''), after (the same of
--       the one before it), request (its digest), named_id ('+' and the id of a message that comes with it, or ''),
--       writer (all that follows is of that message), continues (the writer it continues, or ''), digest, status, content (all else of it, JSON), answers ('+'
--       and the id of what it answers, or '')
-- Reply: {answer [, branch, hidden, appended]}: {'superseded', branch, how many are hidden, 'created', 'duplicate' or ''};
--        or why not: {'missing'}, {'newer'}, {'replaced'}, {'another'}, {'absent'}, {'differs'}, {'taken'}
--@include session
--@include versions
local version, count, superseded_times, made_branch =
  unpack(redis.call('HMGET', session_key, 'v', 'n', 'br', 'y:' .. by))
if not version then return {'missing'} end
if is_newer(version) then return {'newer'} end
if made_branch then
  local known = cjson.decode(redis.call('HGET', session_key, 'p:' .. made_branch))
  if known.request ~= request then return {'another'} end
  redis.call('PEXPIRE', session_key, ttl_ms)
  return {'superseded', tonumber(made_branch), known.hidden, known.appended}
end

-- The visible messages, and where each stands: behind what it answers (`anchor`), or at its own position.
local shown, questions = {}, {}
count = count + 0
for first = 1, count, 200 do
  local fields = {}
  local last = math.min(first + 199, count)
  for position = first, last do
    fields[#fields + 1] = 'k:' .. position
    fields[#fields + 1] = 'x:' .. position
    fields[#fields + 1] = 'r:' .. position
  end
  local values = redis.call('HMGET', session_key, unpack(fields))
  for position = first, last do
    local at = (position - first) * 3
    local id, superseded, answered = values[at + 1], values[at + 2], values[at + 3]
    if not superseded then
      shown[#shown + 1] = {id = id, position = position, anchor = position, answers = answered}
      if not answered then questions[id] = position end
    end
  end
end
local places = {}
for _, message in ipairs(shown) do
  message.anchor = message.answers and questions[string.sub(message.answers, 2)] or message.position
  places['+' .. message.id] = message
end

-- The place behind which everything goes.
local anchor, position
if places[start] then
  anchor, position = places[start].anchor, places[start].position - 1
elseif places[after] then
  anchor, position = places[after].anchor, places[after].position
else
  for _, named in ipairs({start, after}) do
    if named ~= '' and redis.call('HGET', session_key, 'i:' .. string.sub(named, 2)) then return {'replaced'} end
  end
  anchor, position = 0, 0
  if after ~= '' then anchor, position = @LAST_POSITION@, @LAST_POSITION@ end
end
local function goes(message)
  return message.anchor > anchor or (message.anchor == anchor and message.position > position)
end

local appended, id = '', string.sub(named_id, 2)
if named_id ~= '' then
  local there = places[named_id]
  local staying = there and not goes(there)
  if continues ~= '' then return {staying and 'taken' or 'absent'} end
  appended = 'created'
  if staying then
    local before = written(there, writer)
    if before ~= digest then return {before and 'differs' or 'taken'} end
    appended = 'duplicate'
  end
end

-- Nothing is refused from here on.
local branch, hidden = (superseded_times or 0) + 1, 0
for _, message in ipairs(shown) do
  if goes(message) then
    redis.call('HSET', session_key, 'x:' .. message.position, branch)
    hidden = hidden + 1
  end
end
redis.call('HSET', session_key, 'br', branch, 'y:' .. by, branch, 'p:' .. branch, cjson.encode({start = start, after = after,
  request = request, anchor = anchor, position = position, hidden = hidden, appended = appended}))
if appended == 'created' then
  local positions = redis.call('HGET', session_key, 'i:' .. id)
  add(count + 1, id, positions, writer, digest, status, content, answers, branch, nil)
end
redis.call('PEXPIRE', session_key, ttl_ms)
return {'superseded', branch, hidden, appended}
