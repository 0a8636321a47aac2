-- (token, ticket, wait, first lease us, KEEP ms, channel prefix)
-- {1, fence, left} owned; {0, ticket, seen, left} waiting; {0} contended, for a caller that does not wait
local lock, token = KEYS[1], ARGV[1]
local h = redis.call('HMGET', lock, 'o', 'f', 'x', 'k')
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local fence = tonumber(h[2] or 0)
local left = (h[3] or 0) - now
local owned = h[1] and left > 0
if owned then
  if h[1] == token then return {1, fence, left} end
  if ARGV[3] == '0' then return {0} end
end
local queue, keep, ticket = KEYS[2], ARGV[5], ARGV[2]
if owned and ticket == '0' then
  -- The usual wait, so before anything is made that only a grant needs.
  if redis.call('RPUSH', queue, string.format('%016.0f:%s', now, token)) == 1 then redis.call('PEXPIRE', queue, keep) end
  if fence < now then fence = now end
  return {0, now, fence, left}
end
-- What a grant will write: nothing below changes the owner without it.
local new, lease = fence + 1, tonumber(ARGV[4])
if new < now then new = now end
local f, x = string.format('%.0f', new), string.format('%.0f', now + lease)
local fresh = h[4] and now <= tonumber(h[4])

if not owned and redis.call('EXISTS', queue) == 0 then
  if fresh then
    redis.call('HSET', lock, 'o', token, 'f', f, 'x', x)
  else
    redis.call('HSET', lock, 'o', token, 'f', f, 'x', x, 'k', string.format('%.0f', now + keep * 500))
    redis.call('PEXPIRE', lock, keep)
  end
  return {1, new, lease}
end

if ARGV[3] ~= '0' then
  if ticket == '0' then
    ticket = string.format('%016.0f', now)
    if redis.call('RPUSH', queue, ticket .. ':' .. token) == 1 then redis.call('PEXPIRE', queue, keep) end
  else
    -- A poll: a sign of life of the whole process, and back into the queue at the old place.
    redis.call('HSET', lock, string.sub(token, 1, 16), x)
    if ticket == '1' or not redis.call('LPOS', queue, ticket .. ':' .. token) then
      local known, behind
      local entries = redis.call('LRANGE', queue, 0, -1)
      if ticket == '1' then
        for i = 1, #entries do
          if string.sub(entries[i], 18) == token then known = string.sub(entries[i], 1, 16) break end
        end
        ticket = known or string.format('%016.0f', now)
      end
      if not known then
        for i = 1, #entries do
          if string.sub(entries[i], 1, 16) > ticket then behind = entries[i] break end
        end
        if behind then
          redis.call('LINSERT', queue, 'BEFORE', behind, ticket .. ':' .. token)
        else
          redis.call('RPUSH', queue, ticket .. ':' .. token)
        end
      end
    end
    redis.call('PEXPIRE', lock, keep)
    redis.call('PEXPIRE', queue, keep)
  end
  if owned then
    if fence < now then fence = now end
    return {0, tonumber(ticket), fence, left}
  end
end

-- The lock is free: it goes to the head of the queue, whoever asks.
local next, winner = redis.call('LPOP', queue), token
while next do
  local candidate = string.sub(next, 18)
  if candidate == token then break end
  local process = string.sub(candidate, 1, 16)
  local age = now - string.sub(next, 1, 16)
  if ((age < lease and -age < lease) or tonumber(redis.call('HGET', lock, process) or 0) > now)
      and redis.call('SPUBLISH', ARGV[6] .. process, candidate .. ' ' .. f .. ' ' .. lock) > 0 then
    winner = candidate
    break
  end
  next = redis.call('LPOP', queue)
end
if fresh then
  redis.call('HSET', lock, 'o', winner, 'f', f, 'x', x)
else
  redis.call('HSET', lock, 'o', winner, 'f', f, 'x', x, 'k', string.format('%.0f', now + keep * 500))
  redis.call('PEXPIRE', lock, keep)
  redis.call('PEXPIRE', queue, keep)
end
if winner == token then return {1, new, lease} end
if ARGV[3] == '0' then return {0} end
return {0, tonumber(ticket), new, lease}
