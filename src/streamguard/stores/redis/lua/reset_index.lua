-- Removes an index that is no sorted set any more, so that it can be begun anew.
-- KEYS: the index
-- ARGV: none
-- Reply: 1 removed, 0 it is one
--@include sorted
return mended(KEYS[1]) and 1 or 0
