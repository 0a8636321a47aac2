-- (): 1 marked, 0 nothing was there to mark (a lease is killed either way)
local key = KEYS[1]
local entry = redis.call('GETRANGE', key, 0, 31)
if #entry > 31 then
  local flags = bit.bor(string.byte(entry, 2), 4)
  redis.call('SETRANGE', key, 1, string.char(flags) .. string.rep('\0', 16) .. string.rep('0', 13))
  return 1
end
redis.call('DEL', key)
return 0
