-- Tells whoever watches a stream that something other than its events changed.
local function tell(meta, stop)
  redis.call('PUBLISH', meta .. ':c', struct.pack('>BI8', stop, 0))
end
