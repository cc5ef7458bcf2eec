-- Closes wishes that were not sent: their outcome is told to somebody, so nobody else is to send them after all. Or opens
-- them again, for somebody who wants them sent.
--
-- KEYS: the records. ARGV: 1 'C' to close or 'O' to open; and to close, for each key, the token whose outcome it is.
-- Gives for each key 1: it is so; or 0: somebody else has claimed it by now.
local done = {}
for place, key in ipairs(KEYS) do
  local held = redis.call('HMGET', key, 's', 't')
  if ARGV[1] == 'O' then
    if held[1] == 'C' then
      redis.call('HSET', key, 's', 'O')
    end
    done[place] = 1
  elseif held[2] == ARGV[place + 1] and (held[1] == 'O' or held[1] == 'C') then
    redis.call('HSET', key, 's', 'C')
    done[place] = 1
  else
    done[place] = 0
  end
end
return done
