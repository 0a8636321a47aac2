-- (seat, ...): frees seats whose claims are deleted. 1; 0 there is no pool.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 1, #ARGV do redis.call('SETBIT', KEYS[1], ARGV[i], 1) end
return 1
