-- (token, n): takes the n lowest free seats for this token. {generation, seat, ...} it has them; 0 there are fewer;
-- -1 there is no pool. Again with the same token: the same seats.
local free, held, generation = KEYS[1], KEYS[2], redis.call('GET', KEYS[3])
if not generation or redis.call('EXISTS', free) == 0 then return -1 end
local reply = {generation}
local before = redis.call('HGET', held, ARGV[1])
if before then
  for seat in string.gmatch(before, ' (%d+)') do reply[#reply + 1] = tonumber(seat) end
  return reply
end
local at = 0
for _ = 1, tonumber(ARGV[2]) do
  local seat = redis.call('BITPOS', free, 1, at)
  if seat < 0 then
    for i = 2, #reply do redis.call('SETBIT', free, reply[i], 1) end
    return 0
  end
  redis.call('SETBIT', free, seat, 0)
  reply[#reply + 1] = seat
  at = math.floor(seat / 8)
end
local time = redis.call('TIME')
local since = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', held, ARGV[1], since .. ' ' .. table.concat(reply, ' ', 2))
return reply
