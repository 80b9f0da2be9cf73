-- Stores a message, once.
-- KEYS: session_key
-- ARGV: ttl_ms, id, writer, continues (the writer it continues, or ''), digest, status, content (all else of it, JSON),
--       answers ('+' and the id of what it answers, or ''), asked_branch (or '' for the present one)
-- Reply: 'created', 'continued', 'duplicate' or 'superseded'; or why it was not: 'missing', 'newer', 'absent', 'differs',
--        'taken', 'gone'
-- A writer is '+' and a stream id, or '-' for none.
--@include session
--@include versions
local version, count, superseded_times, positions =
  unpack(redis.call('HMGET', session_key, 'v', 'n', 'br', 'i:' .. id))
if not version then return 'missing' end
if is_newer(version) then return 'newer' end
local newest = (superseded_times or 0) + 0
local branch = asked_branch and math.min(asked_branch, newest) or newest

-- Of the versions of a message, the newest that was stored in this branch or before.
local function addressed(all)
  local found
  for _, one in ipairs(all) do
    if one.branch <= branch and (not found or one.branch >= found.branch) then found = one end
  end
  return found
end

-- The superseding that hides a message that is created in this branch; nil for a visible one.
local function superseded_late()
  local answered
  if answers ~= '' then answered = addressed(versions(redis.call('HGET', session_key, 'i:' .. string.sub(answers, 2)))) end
  if answered and answered.superseded and answered.superseded <= branch then return answered.superseded end
  for later = branch + 1, newest do
    local superseding = cjson.decode(redis.call('HGET', session_key, 'p:' .. later))
    if '+' .. id ~= superseding.after then
      if '+' .. id == superseding.start or not answered or answered.superseded == later then return later end
      if answered.position >= superseding.anchor then return later end
    end
  end
end

local all, found = versions(positions), nil
if writer ~= '-' then
  for _, one in ipairs(all) do
    if not found and written(one, writer) then found = one end
  end
end
found = found or addressed(all)
if not found and continues ~= '' then return 'absent' end
if found and found.superseded and found.superseded <= branch and not written(found, writer) then
  if continues ~= '' then return 'gone' end
  found = nil
end
local superseded
if not found then
  superseded = superseded_late()
  for _, one in ipairs(all) do
    if one.superseded == superseded then found = one end
  end
end
local answer = 'created'
if found then
  local writers, before = writers_of(found), written(found, writer)
  superseded = found.superseded
  if before and before ~= digest then return 'differs' end
  local last_writer = unpack(writers[#writers])
  if not before and last_writer ~= continues then return 'taken' end
  answer = before and 'duplicate' or 'continued'
  if not before then
    local position = found.position
    writers[#writers + 1] = {writer, digest}
    redis.call('HSET', session_key, 'b:' .. position, content, 'w:' .. position, cjson.encode(writers),
      's:' .. position, status, 'u:' .. position, now_ms())
    if answers == '' then
      redis.call('HDEL', session_key, 'r:' .. position)
    else
      redis.call('HSET', session_key, 'r:' .. position, answers)
    end
  end
else
  add(count + 1, id, positions, writer, digest, status, content, answers, branch, superseded)
end
redis.call('PEXPIRE', session_key, ttl_ms)
return superseded and 'superseded' or answer
