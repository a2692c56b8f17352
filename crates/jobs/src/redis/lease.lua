-- ARGV[3..]: lease in ms, limit, token, cause of death when a lease ran out. Returns id, body, attempts, max attempts.
local lease_ms, limit, token, expired = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
-- A hundred per call, so that the leases of many dead workers do not make one call long.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', lease, '-inf', wall, 'LIMIT', 0, 100)) do
  local attempts, max, pushed = read(id)
  if attempts then fail(id, attempts, max, pushed, expired, now) else forget(id) end
  redis.call('ZREM', lease, id)
end
local leased = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, limit)) do
  local payload = redis.call('HGET', body, id)
  if payload then
    local attempts, max, pushed = read(id)
    if not attempts then attempts, max, pushed = 0, 1, now end
    redis.call('ZADD', lease, wall + lease_ms, id)
    write(id, attempts, max, pushed, token)
    local n = #leased
    leased[n + 1], leased[n + 2], leased[n + 3], leased[n + 4] = id, payload, attempts, max
  else
    forget(id)
  end
  redis.call('ZREM', due, id)
end
return leased
