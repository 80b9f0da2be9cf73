-- The store's clock, in whole microseconds: the times at which streams began and sessions were erased, and epochs.
-- 16 digits, which a double holds but Lua's %.14g does not write: `digits` does.
--@include digits
local function now_us()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
