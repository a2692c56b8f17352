-- ARGV[3..]: lease in ms, then id, token. Returns the ids that another worker holds or that are due again. An id that
-- does not exist (the database was flushed) is not returned: its worker may finish the job.
local lost = {}
for i = 4, #ARGV, 2 do
  local attempts, _, _, token = read(ARGV[i])
  if token == ARGV[i + 1] then
    redis.call('ZADD', lease, wall + tonumber(ARGV[3]), ARGV[i])
  elseif attempts then
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
