-- ARGV[3]: id. Returns attempts, pushed at, died at, body, cause, tenants; nothing when the job is not dead.
local id = ARGV[3]
local died = redis.call('ZSCORE', dead, id)
if not died then return {} end
local attempts, _, pushed = read(id)
return { attempts, pushed, tonumber(died), redis.call('HGET', body, id), redis.call('HGET', cause, id), redis.call('HGET', tenants, id) }
