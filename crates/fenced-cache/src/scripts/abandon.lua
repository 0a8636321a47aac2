-- (token): 1 the lease was still this one's and is given back, 0 it was not
local key = KEYS[1]
local entry = redis.call('GETRANGE', key, 0, 31)
if string.sub(entry, 3, 18) ~= ARGV[1] then return 0 end
if #entry > 31 then
  redis.call('SETRANGE', key, 2, string.rep('\0', 16) .. string.rep('0', 13))
else
  redis.call('DEL', key)
end
return 1
