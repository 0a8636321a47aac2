-- (token): 1 the key was this token's and is gone, 0 it was not
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
