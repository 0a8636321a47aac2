-- (token, v, h, d, hard_ttl_ms): 1 stored, 0 what is there is not older, 2 killed
local key, new = KEYS[1], ARGV[2]
local old = redis.call('HGET', key, 'v')
-- Versions are decimal without leading zeros, up to 2^64: compared as text, since Lua's numbers end at 2^53.
if old and (#old > #new or (#old == #new and old >= new)) then return 0 end
-- First of all, so that no failure below leaves the old value; it also runs on a full Redis.
redis.call('DEL', key)
if not old then return 2 end
redis.call('HSET', key, 'h', ARGV[3], 'd', ARGV[4], 'v', new, 'n', ARGV[1])
redis.call('PEXPIRE', key, ARGV[5])
return 1
