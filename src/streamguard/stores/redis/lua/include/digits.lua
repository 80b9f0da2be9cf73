-- A whole number as text, whatever its size.
local function digits(number)
  return string.format('%.0f', number)
end
