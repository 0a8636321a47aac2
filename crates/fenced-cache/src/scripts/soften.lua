-- (): 1 marked, 0 nothing was there to mark (a lease is killed either way)
local key = KEYS[1]
if redis.call('HEXISTS', key, 'h') == 1 then
  redis.call('HDEL', key, 't', 'u')
  redis.call('HSET', key, 's', '1')
  return 1
end
redis.call('DEL', key)
return 0
