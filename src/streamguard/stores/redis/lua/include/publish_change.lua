-- Tells the subscribers of a stream that something other than its events changed.
local function publish_change(meta_key, stop)
  redis.call('PUBLISH', meta_key .. ':c', struct.pack('>BI8I8', stop, 0, 0))
end
