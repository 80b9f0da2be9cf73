-- The store's clock, in whole milliseconds: 13 digits, which Lua's %.14g writes exactly.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
