-- Removes a member of a sorted set. A key of another type holds nothing that could be saved: it is removed itself.
--@include reset_unless_sorted
local function remove_member(key, member)
  local removed = redis.pcall('ZREM', key, member)
  if type(removed) ~= 'number' and not reset_unless_sorted(key) then error(removed.err, 0) end
end
