-- (token, lease_ms, seen, drop): 0 granted, -1 somebody stored meanwhile, n > 0 held for n more milliseconds
local key, token = KEYS[1], ARGV[1]
local entry = redis.call('HMGET', key, 't', 'u', 'n', 'h')
if entry[1] == token then return 0 end
if entry[4] and entry[3] ~= ARGV[3] then return -1 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if entry[1] and tonumber(entry[2]) > now then return entry[2] - now end
local stored = entry[4]
if ARGV[4] == '1' then
  redis.call('HDEL', key, 'h', 'd', 'n', 'v', 's')
  stored = false
end
redis.call('HSET', key, 't', token, 'u', string.format('%.0f', now + ARGV[2]))
if not stored then redis.call('PEXPIRE', key, ARGV[2]) end
return 0
