-- (version in 20 digits, entry, hard_ttl_ms): 1 stored, 0 what is there is not older, 2 killed
local key = KEYS[1]
local old = redis.call('GETRANGE', key, 0, 66)
-- A softly invalidated value counts as unversioned: an acknowledged newer write stands behind it that left its old
-- version in place, so 'newer than what is there' proves nothing.
local versioned = #old == 67 and bit.band(string.byte(old, 2), 6) == 2
if versioned and string.sub(old, 48, 67) >= ARGV[1] then return 0 end
-- First of all, so that no failure below leaves the old value; it also runs on a full Redis.
redis.call('DEL', key)
if not versioned then return 2 end
redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
return 1
