-- Tells the subscribers of a stream that something other than its events changed.
local function publish_change(meta_key, stop)
  redis.call('PUBLISH', meta_key .. ':c', stop == 0 and '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' or '\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0')
end
