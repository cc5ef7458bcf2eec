-- Records why a wish is not sent this time, for whoever waits for what becomes of it. It can be claimed as before.
-- KEYS[1]: the record. ARGV: 1 token, 2 fingerprint, 3 the result, 4 how long to keep it (ms).
local state = redis.call('HGET', KEYS[1], 's')
if not state or state == 'O' then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 's', 'O', 't', ARGV[1], 'l', 0, 'f', ARGV[2], 'r', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 1
