-- Claims a wish, and counts it on the guard, in one step; or says why it may not be sent.
--
-- A record is a hash: s, its state; t, the token of who claimed it; l, the end of the claim's lease in milliseconds of
-- this Redis' clock; f, the fingerprint of the request; i, its report id; r, its result.
--   B begun: there may be an SMS, and after the lease nobody will say. S settled. M may have been sent, and that is
--   the last word, but for a better one of who claimed it. O open: certainly not sent, to be claimed as if it were new.
--   C closed: as O, but somebody was told so, and nobody is to send it any more.
-- And of one that was claimed again though it may have been sent: a, '1'; p, the result from before, if there was one.
-- A number's record is the same, for the length of the cooldown, and without O. And where it was claimed in spite of an
-- earlier one: e, o and u, the earlier one's state, its result, and until when it stands (ms).
--
-- Asking again with the same token changes nothing: an answer may have been lost on its way.
--
-- KEYS: 1 the memory's id, 2 the record; and, or '' where there is no such rule: 3 the number's record, 4 the admissions of
-- the prefix, 5 of all, 6 their count for ever; 7 what says that this claim was given up before it came.
-- ARGV: 1 the memory's id, 2 token, 3 fingerprint, 4 lease (ms), 5 how long to keep the record after it (ms), 6 report id or '',
-- 7 '1': claim again what may have been sent, 8 how long to keep the number's record (ms), 9 '1': whatever that says,
-- 10 window (ms), 11 to 13 the limits of the last three keys, or '' for none.
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('EXISTS', KEYS[7]) == 1 then
  return {'lost'}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local token, keep = ARGV[2], ARGV[5]
local again = ''

local held = redis.call('HMGET', KEYS[2], 's', 't', 'l', 'f', 'i', 'r', 'a', 'p')
if held[1] then
  if held[2] == token then
    return {'granted', held[7] or '', held[8] or ''}
  end
  if held[1] ~= 'O' and held[4] ~= ARGV[3] then
    return {'other'}
  end
  if held[1] == 'S' or held[1] == 'C' then
    return {'settled', held[6]}
  end
  if held[1] == 'B' and tonumber(held[3]) > now then
    return {'busy', held[5] or '', held[3] - now}
  end
  if held[1] ~= 'O' then
    if ARGV[7] == '' then
      redis.call('HSET', KEYS[2], 's', 'M')
      redis.call('PEXPIRE', KEYS[2], keep)
      return {'unsettled', held[5] or '', held[6] or ''}
    end
    again = '1'
  end
end

if KEYS[3] ~= '' and ARGV[9] == '' then
  local number = redis.call('HMGET', KEYS[3], 's', 'l', 'i', 'r')
  if number[4] and (number[1] == 'S' or number[1] == 'M') then
    return {'cooling', number[4]}
  end
  if number[1] == 'B' and tonumber(number[2]) > now then
    return {'number', number[3] or '', number[2] - now}
  end
  if number[1] then
    return {'hot', number[3] or ''}
  end
end

-- Changes nothing, and is refused where Redis' memory is full: what comes first below would not be, and what a script has
-- begun to change is let through. Nothing more is sent until there is room.
redis.call('SETRANGE', KEYS[1], 0, '')

-- A window does not hold its end, so what is as old as it is gone.
for place, refusal in pairs({[4] = 'prefix', [5] = 'client'}) do
  if KEYS[place] ~= '' then
    redis.call('ZREMRANGEBYSCORE', KEYS[place], '-inf', now - ARGV[10])
  end
end
if ARGV[11] ~= '' and redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[11]) then
  return {'prefix'}
end
if ARGV[12] ~= '' and redis.call('ZCARD', KEYS[5]) >= tonumber(ARGV[12]) then
  return {'client'}
end
if ARGV[13] ~= '' and tonumber(redis.call('GET', KEYS[6]) or '0') >= tonumber(ARGV[13]) then
  return {'total'}
end

for place = 4, 5 do
  if KEYS[place] ~= '' then
    redis.call('ZADD', KEYS[place], now, token)
    redis.call('PEXPIRE', KEYS[place], ARGV[10])
  end
end
if KEYS[6] ~= '' then
  redis.call('INCR', KEYS[6])
end
if KEYS[3] ~= '' then
  local earlier = redis.call('HMGET', KEYS[3], 's', 'r')
  local stands = now + redis.call('PTTL', KEYS[3])
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[3], 's', 'B', 't', token, 'l', now + ARGV[4])
  if ARGV[6] ~= '' then
    redis.call('HSET', KEYS[3], 'i', ARGV[6])
  end
  if earlier[1] == 'S' or earlier[1] == 'M' then
    redis.call('HSET', KEYS[3], 'e', earlier[1], 'u', stands)
    if earlier[2] then
      redis.call('HSET', KEYS[3], 'o', earlier[2])
    end
  elseif earlier[1] then
    -- It is under way, and will find that the record is not its own any more: it may be sent.
    redis.call('HSET', KEYS[3], 'e', 'M', 'u', now + ARGV[8])
  end
  redis.call('PEXPIRE', KEYS[3], ARGV[4] + ARGV[8])
end
-- A claim that nobody settled has no result of its own, but may know of an earlier one.
local before = again == '1' and (held[6] or held[8]) or ''
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 's', 'B', 't', token, 'l', now + ARGV[4], 'f', ARGV[3])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[2], 'i', ARGV[6])
end
if again == '1' then
  redis.call('HSET', KEYS[2], 'a', again, 'p', before)
end
redis.call('PEXPIRE', KEYS[2], ARGV[4] + keep)
return {'granted', again, before}
