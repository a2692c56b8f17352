-- Returns waiting, scheduled, leased, dead, dropped, age of the oldest waiting job in ms (-1 when none waits).
local waiting = redis.call('ZCOUNT', due, '-inf', now)
local oldest = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
local age = -1
if oldest[2] then age = math.max(-1, now - tonumber(oldest[2])) end
return {
  waiting, redis.call('ZCARD', due) - waiting, redis.call('ZCARD', lease), redis.call('ZCARD', dead),
  tonumber(redis.call('HGET', stat, 'dropped') or 0), age,
}
