-- Tells whoever watches a stream that something other than its events changed.
local function tell(meta, stop)
  redis.call('PUBLISH', meta .. ':c', struct.pack('>BI8I8', stop, 0, 0))
end
