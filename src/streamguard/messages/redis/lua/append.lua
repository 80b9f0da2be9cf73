-- Stores a message, once.
-- KEYS: session
-- ARGV: TTL (ms), message id, its writer, the writer it continues or '', digest, status, all else of it (JSON), '+' and the id of what it answers or '', its branch or ''
-- Reply: 'created', 'continued', 'duplicate' or 'superseded'; or why it was not: 'missing', 'newer', 'absent', 'differs', 'taken', 'gone'
-- A writer is '+' and a stream id, or '-' for none.
--@include prelude
--@include versions
local id, writer, continues, digest, status, content, answers = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local s = redis.call('HMGET', KEYS[1], 'v', 'n', 'br', 'i:' .. id)
if not s[1] then return 'missing' end
if newer(s[1]) then return 'newer' end
local newest = (s[3] or 0) + 0
local branch = ARGV[9] == '' and newest or math.min(tonumber(ARGV[9]), newest)

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
  if answers ~= '' then answered = addressed(versions(redis.call('HGET', KEYS[1], 'i:' .. string.sub(answers, 2)))) end
  if answered and answered.superseded and answered.superseded <= branch then return answered.superseded end
  for later = branch + 1, newest do
    local one = cjson.decode(redis.call('HGET', KEYS[1], 'p:' .. later))
    if '+' .. id ~= one.after then
      if '+' .. id == one.start or not answered or answered.superseded == later then return later end
      if answered.position >= one.anchor then return later end
    end
  end
end

local all, found = versions(s[4]), nil
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
  if not before and writers[#writers][1] ~= continues then return 'taken' end
  answer = before and 'duplicate' or 'continued'
  if not before then
    local position = found.position
    writers[#writers + 1] = {writer, digest}
    redis.call('HSET', KEYS[1], 'b:' .. position, content, 'w:' .. position, cjson.encode(writers), 's:' .. position, status,
      'u:' .. position, now())
    if answers == '' then redis.call('HDEL', KEYS[1], 'r:' .. position) else redis.call('HSET', KEYS[1], 'r:' .. position, answers) end
  end
else
  add(s[2] + 1, id, s[4], writer, digest, status, content, answers, branch, superseded)
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return superseded and 'superseded' or answer
