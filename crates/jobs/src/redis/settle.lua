-- ARGV[3..]: id, token, verdict, delay in ms, cause. Skips a job whose lease has another token.
for i = 3, #ARGV, 5 do
  local id, verdict, why = ARGV[i], ARGV[i + 2], ARGV[i + 4]
  local attempts, max, pushed, token = read(id)
  if token == ARGV[i + 1] then
    if verdict == 'done' then
      forget(id)
    elseif verdict == 'retry' then
      fail(id, attempts, max, pushed, why, now + tonumber(ARGV[i + 3]))
    elseif verdict == 'abort' then
      bury(id, attempts + 1, max, pushed, why)
    else
      write(id, attempts, max, pushed, '-')
      redis.call('ZADD', due, now, id)
    end
    redis.call('ZREM', lease, id)
  end
end
return 1
