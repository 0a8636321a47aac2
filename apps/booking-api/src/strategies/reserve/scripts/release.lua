-- (token, seat, ...): ends the reservation and frees its seats, but for those named. 1; 0 there was none (any more).
local seats = redis.call('HGET', KEYS[2], ARGV[1])
if not seats then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
-- A pool must not come into being by a seat that is given back to it: it would have only that one.
if redis.call('EXISTS', KEYS[1]) == 0 then return 1 end
local kept = {}
for i = 2, #ARGV do kept[ARGV[i]] = true end
for seat in string.gmatch(seats, ' (%d+)') do
  if not kept[seat] then redis.call('SETBIT', KEYS[1], seat, 1) end
end
return 1
