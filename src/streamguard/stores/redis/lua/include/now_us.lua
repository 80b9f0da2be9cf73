-- The store's clock, in whole microseconds: what says when streams began and sessions were erased, and what epochs are.
-- 16 digits, which a double holds but Lua's %.14g does not write: `digits` does.
local function stamp()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
local function digits(number)
  return string.format('%.0f', number)
end
