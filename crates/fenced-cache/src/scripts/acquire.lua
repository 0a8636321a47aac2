-- (token, lease_ms, seen, drop): 0 granted, -1 somebody stored meanwhile, n > 0 held for n more milliseconds
local key, token = KEYS[1], ARGV[1]
local entry = redis.call('GETRANGE', key, 0, 46)
local stored = #entry > 31
local leased = #entry >= 31
if leased and string.sub(entry, 3, 18) == token then return 0 end
if stored and string.sub(entry, 32, 47) ~= ARGV[3] then return -1 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if leased then
  local rest = (tonumber(string.sub(entry, 19, 31)) or 0) - now
  if rest > 0 then return rest end
end
local lease = token .. string.format('%013.0f', now + ARGV[2])
if stored and ARGV[4] ~= '1' then
  redis.call('SETRANGE', key, 2, lease)
else
  redis.call('SET', key, '\1\0' .. lease, 'PX', ARGV[2])
end
return 0
