-- Gives turns: the times at which requests may start, a rate for all who ask. The generic cell rate algorithm (ITU-T
-- I.371): the next turn is one interval after the one before.
--
-- Turns are given ahead, but only as far as the horizon: what is given to one who is killed is lost to all. Turns that
-- nobody took are made up for, but only those of the last moments.
--
-- No turn is further ahead than this can have put it: what is says that the clock went back, or that the rate was a much
-- lower one, and all would wait for as long as that.
--
-- KEYS[1]: when the next turn is (microseconds of this Redis' clock).
-- ARGV: 1 interval (us), 2 turns wanted, 3 horizon (us), 4 what may be made up for (us).
-- Gives how many turns, and in how many us the first is (less than 0: it was); or 0, and in how many us to ask again.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local apart, horizon = tonumber(ARGV[1]), tonumber(ARGV[3])
local turn = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now - ARGV[4])
if turn > now + horizon + apart + 1000000 then
  turn = now
end
if turn > now + horizon then
  return {0, math.ceil(turn - now - horizon)}
end
local given = math.min(tonumber(ARGV[2]), math.floor((now + horizon - turn) / apart) + 1)
local after = turn + given * apart
redis.call('SET', KEYS[1], string.format('%.3f', after), 'PX', math.ceil(math.max(0, after - now) / 1000) + 1000)
return {given, math.floor(turn - now)}
