-- (token): 1 the lease was still this one's and is given back, 0 it was not
local key = KEYS[1]
if redis.call('HGET', key, 't') ~= ARGV[1] then return 0 end
if redis.call('HEXISTS', key, 'h') == 1 then
  redis.call('HDEL', key, 't', 'u')
else
  redis.call('DEL', key)
end
return 1
