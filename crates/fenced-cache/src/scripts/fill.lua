-- (token, h, d, v or '', hard_ttl_ms): 1 stored, 0 refused
local key = KEYS[1]
-- Equality alone: a lease that lapsed and that nobody has claimed since may still fill.
if redis.call('HGET', key, 't') ~= ARGV[1] then return 0 end
redis.call('DEL', key)
if ARGV[4] == '' then
  redis.call('HSET', key, 'h', ARGV[2], 'd', ARGV[3], 'n', ARGV[1])
else
  redis.call('HSET', key, 'h', ARGV[2], 'd', ARGV[3], 'v', ARGV[4], 'n', ARGV[1])
end
redis.call('PEXPIRE', key, ARGV[5])
return 1
