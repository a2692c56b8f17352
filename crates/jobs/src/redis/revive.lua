-- ARGV[3]: id. Returns attempts, pushed at, died at, body, cause, tenants as they were; nothing when the job is not
-- dead.
local id = ARGV[3]
local died = redis.call('ZSCORE', dead, id)
if not died then return {} end
local attempts, max, pushed = read(id)
local was = { attempts, pushed, tonumber(died), redis.call('HGET', body, id), redis.call('HGET', cause, id), redis.call('HGET', tenants, id) }
write(id, 0, max, pushed, '-')
redis.call('ZADD', due, now, id)
redis.call('ZREM', dead, id)
redis.call('HDEL', cause, id)
return was
