-- Removes an index that is no sorted set any more, so that it can be begun anew.
-- KEYS: shard_key
-- ARGV: none
-- Reply: 1 removed, 0 it is one
--@include reset_unless_sorted
return reset_unless_sorted(shard_key) and 1 or 0
