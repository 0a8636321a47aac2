-- (token, ticket, first lease us, KEEP ms, channel prefix): also the cancellation of a wait
-- {1} given back; {1, next, fence} handed to a waiter of the same process; {0} not the owner, so left the queue
local lock, queue, token = KEYS[1], KEYS[2], ARGV[1]
local h = redis.call('HMGET', lock, 'o', 'f', 'k')
if h[1] ~= token then
  if ARGV[2] ~= '0' then
    redis.call('LREM', queue, 1, ARGV[2] .. ':' .. token)
  else
    local entries = redis.call('LRANGE', queue, 0, -1)
    for i = 1, #entries do
      if string.sub(entries[i], 18) == token then redis.call('LREM', queue, 1, entries[i]) end
    end
  end
  return {0}
end
local next = redis.call('LPOP', queue)
if not next then
  redis.call('DEL', lock)
  return {1}
end
local t = redis.call('TIME')
local now, lease, own = t[1] * 1000000 + t[2], tonumber(ARGV[3]), string.sub(token, 1, 16)
local new = h[2] + 1
if new < now then new = now end
local f = string.format('%.0f', new)
while next do
  local candidate = string.sub(next, 18)
  local process = string.sub(candidate, 1, 16)
  local age = now - string.sub(next, 1, 16)
  -- This process reads the reply, so it needs no push.
  if process == own or ((age < lease and -age < lease) or tonumber(redis.call('HGET', lock, process) or 0) > now)
      and redis.call('SPUBLISH', ARGV[5] .. process, candidate .. ' ' .. f .. ' ' .. lock) > 0 then
    local x = string.format('%.0f', now + lease)
    if h[3] and now <= tonumber(h[3]) then
      redis.call('HSET', lock, 'o', candidate, 'f', f, 'x', x)
    else
      redis.call('HSET', lock, 'o', candidate, 'f', f, 'x', x, 'k', string.format('%.0f', now + ARGV[4] * 500))
      redis.call('PEXPIRE', lock, ARGV[4])
      redis.call('PEXPIRE', queue, ARGV[4])
    end
    if process == own then return {1, candidate, new} end
    return {1}
  end
  next = redis.call('LPOP', queue)
end
redis.call('DEL', lock)
return {1}
