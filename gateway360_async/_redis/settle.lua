-- Records what became of a wish that was claimed, and takes back from the guard what became no SMS.
--
-- Only who claimed it last may say so. Saying it again changes nothing. What may have been sent before this claim still
-- may have been, if this claim sent nothing.
--
-- A claim that is given up and is not there may be on its way yet, on a connection that was cut: it is not to be made then.
--
-- The first change of each is one that needs no room: then Redis takes the others as well, however full its memory is.
--
-- KEYS: as those of admit.lua, without the first.
-- ARGV: 1 token, 2 state (S, M or O), 3 the result, 4 how long to keep the record (ms), 5 how long to keep the number's
-- record (ms), in both 0: not at all, 6 '1': it may be an SMS, 7 how long to remember a claim that was given up (ms).
local token, state = ARGV[1], ARGV[2]
if KEYS[2] ~= '' and redis.call('HGET', KEYS[2], 't') == token then
  if ARGV[5] == '0' then
    -- What was sent to the number before, and claimed in spite of, stands as if this had not been.
    local earlier = redis.call('HMGET', KEYS[2], 'e', 'o', 'u')
    redis.call('DEL', KEYS[2])
    local time = redis.call('TIME')
    local left = earlier[1] and earlier[3] - time[1] * 1000 - math.floor(time[2] / 1000) or 0
    if left > 0 then
      redis.call('HSET', KEYS[2], 's', earlier[1])
      if earlier[2] then
        redis.call('HSET', KEYS[2], 'r', earlier[2])
      end
      redis.call('PEXPIRE', KEYS[2], left)
    end
  else
    redis.call('PEXPIRE', KEYS[2], ARGV[5])
    redis.call('HSET', KEYS[2], 's', state, 'r', ARGV[3])
  end
end
local held = redis.call('HMGET', KEYS[1], 't', 'a', 'p')
if held[1] ~= token then
  if ARGV[6] == '' then
    redis.call('SET', KEYS[6], '1', 'PX', ARGV[7])
  end
  return 0
end
redis.call('PEXPIRE', KEYS[1], math.max(1, ARGV[4]))
if ARGV[6] == '' and redis.call('HSETNX', KEYS[1], 'g', '1') == 1 then
  for place = 3, 4 do
    if KEYS[place] ~= '' then
      redis.call('ZREM', KEYS[place], token)
    end
  end
  if KEYS[5] ~= '' then
    redis.call('DECR', KEYS[5])
  end
end
if ARGV[4] == '0' then
  redis.call('DEL', KEYS[1])
else
  local result = ARGV[3]
  if state == 'O' and held[2] then
    state, result = 'M', held[3]
  end
  redis.call('HSET', KEYS[1], 's', state, 'r', result)
end
return 1
