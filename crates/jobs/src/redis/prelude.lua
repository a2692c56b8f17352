-- Shared by every script: the keys of one priority, the time, and what a stored job looks like.
-- A script's first write must be one that a full or read-only Redis refuses, so that Redis refuses the whole step. A
-- script adds a job to its new place before it removes it from the old one.
local due, lease, dead = KEYS[1], KEYS[2], KEYS[3]       -- sorted sets of ids by due, expiry and death time (ms)
local body, meta, cause = KEYS[4], KEYS[5], KEYS[6]      -- hashes by id
local stat = KEYS[7]                                     -- hash: dropped = dead jobs that made room for later ones
local tenants = KEYS[8]                                  -- hash by id: its tenants; absent for old jobs

local t = redis.call('TIME')
local wall = t[1] * 1000 + math.floor(t[2] / 1000)       -- leases follow it, whatever the callers' clocks say
local now = tonumber(ARGV[1]) or wall                    -- due times follow it; ARGV[1] is empty unless a test sets it
local kept = tonumber(ARGV[2])

-- Returns attempts, max attempts, pushed at, token of the lease ('-' when not leased); nothing when there is no such
-- job.
local function read(id)
  local m = redis.call('HGET', meta, id)
  if not m then return nil end
  local a, x, p, k = string.match(m, '^(%d+) (%d+) (%d+) (%S+)$')
  return tonumber(a), tonumber(x), tonumber(p), k
end

local function write(id, attempts, max, pushed, token)
  redis.call('HSET', meta, id, string.format('%.0f %.0f %.0f %s', attempts, max, pushed, token))
end

local function forget(id)
  redis.call('HDEL', body, id)
  redis.call('HDEL', meta, id)
  redis.call('HDEL', cause, id)
  redis.call('HDEL', tenants, id)
end

local function bury(id, attempts, max, pushed, why)
  write(id, attempts, max, pushed, '-')
  redis.call('HSET', cause, id, why)
  redis.call('ZADD', dead, now, id)
  local over = redis.call('ZCARD', dead) - kept
  if over > 0 then
    local oldest = redis.call('ZPOPMIN', dead, over)
    for i = 1, #oldest, 2 do forget(oldest[i]) end
    redis.call('HINCRBY', stat, 'dropped', over)
  end
end

-- Counts an attempt: due again at retry_at, or dead when it was the last one.
local function fail(id, attempts, max, pushed, why, retry_at)
  if attempts + 1 >= max then
    bury(id, attempts + 1, max, pushed, why)
  else
    write(id, attempts + 1, max, pushed, '-')
    redis.call('ZADD', due, retry_at, id)
  end
end
