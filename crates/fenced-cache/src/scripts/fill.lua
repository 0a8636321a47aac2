-- (token, entry, hard_ttl_ms): 1 stored, 0 refused
local key = KEYS[1]
-- Equality alone: a lease that lapsed and that nobody has claimed since may still fill.
if redis.call('GETRANGE', key, 2, 17) ~= ARGV[1] then return 0 end
-- First, so that the script runs to its end on a full Redis too.
redis.call('DEL', key)
redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
return 1
