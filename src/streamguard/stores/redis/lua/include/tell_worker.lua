-- Tells the worker that writes a stream that something of it changed, on that worker's channel (see `Keys.worker`).
-- Plain PUBLISH: the channel belongs to no slot, and a cluster carries such a message to all of its nodes.
local function tell_worker(meta_key, worker, epoch, stop)
  if not worker then return end
  redis.call('PUBLISH', string.match(meta_key, '^[^{]*') .. 'w:' .. worker,
    struct.pack('>BI8', tonumber(stop) or 0, tonumber(epoch) or 0) .. string.match(meta_key, '}:m:(.*)$'))
end
