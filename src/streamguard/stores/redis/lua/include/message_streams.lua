-- Which streams of a session write which message: in the session's hash, `m:<message id>` lists them as JSON, {ordinal,
-- stream id} each, the latest last, and `i:<stream id>` is a stream's message id. So nobody looks through the session.
-- A field that is no such list is none.
local function mapped(session, message)
  local found = redis.call('HGET', session, 'm:' .. message)
  local read, list = pcall(cjson.decode, found or '[]')
  if not read or type(list) ~= 'table' then return {} end
  local writers = {}
  for at, one in ipairs(list) do
    if type(one) ~= 'table' or not tonumber(one[1]) or type(one[2]) ~= 'string' then return {} end
    writers[at] = one
  end
  return writers
end
