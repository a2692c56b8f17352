-- ARGV[3..]: id, body, max attempts, tenants, due at (empty: at once). Returns 1 for each added job, 0 for an id that
-- exists.
local added = {}
for i = 3, #ARGV, 5 do
  local id = ARGV[i]
  if redis.call('HEXISTS', meta, id) == 1 then
    added[#added + 1] = 0
  else
    write(id, 0, tonumber(ARGV[i + 2]), now, '-')
    redis.call('HSET', body, id, ARGV[i + 1])
    redis.call('HSET', tenants, id, ARGV[i + 3])
    redis.call('ZADD', due, tonumber(ARGV[i + 4]) or now, id)
    added[#added + 1] = 1
  end
end
return added
