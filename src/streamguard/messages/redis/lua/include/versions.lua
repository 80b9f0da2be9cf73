-- The versions of a message, whose `i:` field is given: position, branch, superseded (nil: visible), oldest first.
local function versions(positions)
  local found = {}
  for position in string.gmatch(positions or '', '%d+') do
    local branch, superseded = unpack(redis.call('HMGET', session_key, 'g:' .. position, 'x:' .. position))
    found[#found + 1] =
      {position = position + 0, branch = (branch or 0) + 0, superseded = superseded and superseded + 0 or nil}
  end
  if positions and not found[1] then error('attempt to read positions that are none', 0) end
  return found
end

-- The one that is visible, if any.
local function visible(positions)
  for _, version in ipairs(versions(positions)) do
    if not version.superseded then return version end
  end
end

-- Its writers, each a name and a digest.
local function writers_of(version)
  return cjson.decode(redis.call('HGET', session_key, 'w:' .. version.position))
end

-- The digest of what this writer wrote last of it, or nil.
local function written(version, writer)
  for _, pair in ipairs(writers_of(version)) do
    local name, digest = unpack(pair)
    if name == writer then return digest end
  end
end

-- Adds a message at the next position. `superseded` is nil for a visible one.
local function add(position, id, positions, writer, digest, status, content, answers, branch, superseded)
  local at = now_ms()
  redis.call('HSET', session_key, 'n', position, 'i:' .. id, positions and positions .. ',' .. position or position,
    'k:' .. position, id, 'b:' .. position, content, 'w:' .. position, cjson.encode({{writer, digest}}),
    's:' .. position, status, 'c:' .. position, at, 'u:' .. position, at, 'g:' .. position, branch)
  if superseded then redis.call('HSET', session_key, 'x:' .. position, superseded) end
  if answers ~= '' then redis.call('HSET', session_key, 'r:' .. position, answers) end
end
