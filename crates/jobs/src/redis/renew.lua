-- ARGV[3..]: lease in ms, then id, token. Answers the ids that another holds or that are due again; a job that is
-- known no more (the database was flushed) is not among them: whoever runs it may finish.
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
