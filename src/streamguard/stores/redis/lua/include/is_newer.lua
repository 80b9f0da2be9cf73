-- Whether a record was written by a later version of this library: such a record is left as it is.
local function newer(version)
  return tonumber(version) > @FORMAT_VERSION@
end
