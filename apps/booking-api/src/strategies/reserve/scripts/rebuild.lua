-- (bitmap, generation, seconds): makes the pool of these seats, less what is reserved, for so long. 1; 0 there is one.
local free, held = KEYS[1], KEYS[2]
if redis.call('EXISTS', free, KEYS[3]) == 2 then return 0 end
redis.call('SET', free, ARGV[1], 'EX', ARGV[3])
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
for _, seats in ipairs(redis.call('HVALS', held)) do
  for seat in string.gmatch(seats, ' (%d+)') do redis.call('SETBIT', free, seat, 0) end
end
return 1
