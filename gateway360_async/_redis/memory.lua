-- Gives the id of this Redis' memory; makes one where there is none. A Redis that comes back without its data has
-- another one, or none. The id ends with what stands for the account that the fleet belongs to.
-- KEYS[1]: where the id is. ARGV[1]: the id to take if there is none.
local id = redis.call('GET', KEYS[1])
if not id then
  id = ARGV[1]
  redis.call('SET', KEYS[1], id)
end
return id
