-- Says how far wishes have come: for each key its state, token, report id, result, what is left of its lease (ms), its
-- fingerprint, and whether it was claimed again, with the result from before (see admit.lua).
-- KEYS: 1 the memory's id, then the records. ARGV[1]: the memory's id.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'lost'}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for place = 2, #KEYS do
  local held = redis.call('HMGET', KEYS[place], 's', 't', 'i', 'r', 'l', 'f', 'a', 'p')
  local left = held[5] and math.max(0, held[5] - now) or 0
  found[place - 1] = {
    held[1] or '', held[2] or '', held[3] or '', held[4] or '', left, held[6] or '', held[7] or '', held[8] or '',
  }
end
return {'found', found}
