-- Whether a later version of this library wrote a record: such a record is left as it is.
local function is_newer(version)
  return tonumber(version) > @FORMAT_VERSION@
end
