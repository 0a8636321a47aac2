-- (token, floor, lease us, KEEP ms): {1, fence, left} extended; {0} the lock is not this token's
local lock = KEYS[1]
local h = redis.call('HMGET', lock, 'o', 'f')
-- The owner alone, not the lease: one that has run out and that nobody has claimed may go on.
if h[1] ~= ARGV[1] then return {0} end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local fence, floor, lease = tonumber(h[2]), tonumber(ARGV[2]), tonumber(ARGV[3])
if floor > 0 then
  -- The database has seen a higher one: this Redis has lost some. Above everything known, so also above that.
  fence = fence + 1
  if fence <= floor then fence = floor + 1 end
  if fence < now then fence = now end
end
redis.call('HSET', lock, 'f', string.format('%.0f', fence), 'x', string.format('%.0f', now + lease),
  'k', string.format('%.0f', now + ARGV[4] * 500))
redis.call('PEXPIRE', lock, ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {1, fence, lease}
