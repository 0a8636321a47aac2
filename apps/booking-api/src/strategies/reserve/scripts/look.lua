-- (milliseconds): {generation or '', free seats, reserved seats, token, 'since seat ...', ...}, the last two for each reservation
-- that is older than this.
local generation = redis.call('GET', KEYS[3])
if not generation or redis.call('EXISTS', KEYS[1]) == 0 then generation = '' end
local time = redis.call('TIME')
local limit = time[1] * 1000 + time[2] / 1000 - ARGV[1]
local reply = {generation, redis.call('BITCOUNT', KEYS[1]), 0}
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local _, seats = string.gsub(all[i + 1], ' ', '')
  reply[3] = reply[3] + seats
  if tonumber(string.match(all[i + 1], '^%d+')) < limit then
    reply[#reply + 1] = all[i]
    reply[#reply + 1] = all[i + 1]
  end
end
return reply
