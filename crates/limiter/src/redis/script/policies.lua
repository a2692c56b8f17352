-- Decides up to 128 checks by the same rules as src/algorithm. It only rolls cells, decides and consumes; Rust explains
-- the result.
-- KEYS     the subjects' values, each once
-- ARGV[1]  policies, 50 bytes each: kind, role, id, limit, parameters
--          Roles: 0 enforced, 1 counts only, 2 pays for slices only, 3 enforced for a cost that does not fit into the
--          policy before it
-- ARGV[2]  shapes of plain checks, of one subject and windows only: cost, limits; per limit: policy
-- ARGV[3]  plain checks, 4 bytes each: key, shape
-- ARGV[4]  all other checks: cost, slice wanted, operation, returns, subjects; the hold's name and life, except for operation 0;
--          per subject: key, limits, floors; per limit: policy; per floor: limit, start, used;
--          per return: amount, the moment it was consumed.
--          Operations: 0 consume, 1 consume and hold concurrency, 2 hold all, 3 end a hold and consume, 4 prolong a hold
-- ARGV[5]  the caller's clock in µs, or empty: the server's decides
-- ARGV[6]  plain checks with a floor, 21 bytes each: key, shape, the floor's limit, start and used
-- Reply    the clock (8 bytes); then for each check (plain ones first, then those with a floor, then all others) its
--          verdict and its subjects' values. Verdicts: 0 refused (operations 3 and 4: no such hold), 1 allowed,
--          2 a calendar period is over (no values follow), 3 allowed with a slice (its size follows, 8 bytes)
-- A value  version, number of cells, then per cell five doubles: id, a, b, c, until. From version 2 on: the number of
--          holds (2 bytes), per hold four doubles: cell, name, amount, until. In version 3: the number of logs (1 byte)
--          and per log two doubles, id and until, its units (4 bytes), the number of its moments (2 bytes) and, oldest
--          first, 8 bytes per moment, with its units in the lowest ten bits. A reply contains only the newest moment of
--          each log if the check was allowed, took from every log and left units. All other numbers are integers below
--          2^53.
local byte, char, ceil, floor, min, max = string.byte, string.char, math.ceil, math.floor, math.min, math.max
local unpack_from, pack, sub, concat, huge = struct.unpack, struct.pack, string.sub, table.concat, math.huge
local SLIDING, EVERY, CALENDAR, BUCKET, CONCURRENCY, LOG = 1, 2, 3, 4, 5, 6
local CONSUME, ACQUIRE, RESERVE, SETTLE, RENEW = 0, 1, 2, 3, 4
local ENFORCED, GUARD, BEYOND = 0, 2, 3
local MAX_CELLS, MAX_HOLDS, MAX_UNITS, EMPTY = 64, 1000, 1000, char(1, 0)
-- A slice is at most this part of what is left, so slices shrink near a limit, however many nodes take them.
local SLICE = 8
-- Fewer units are not worth a slice. So near a limit, every check is decided here, and none is refused for units that
-- a node holds and does not use.
local SMALLEST_SLICE = 16

-- The server's clock decides expiry. A caller's clock may stand still meanwhile, so its
-- values are kept for an hour longer.
local now, spare
if ARGV[5] == '' then
  local time = redis.call('TIME')
  now, spare = time[1] * 1000000 + time[2], 0
else
  now, spare = tonumber(ARGV[5]), 3600000
end

-- The policies at this moment, computed once per call: kind, role, id, size, weight. For a window: the period
-- around now, its length and the share of the previous one that still counts. For a bucket: the parts of a token,
-- and the parts that flow in per µs.
local kinds, roles, ids, sizes, factors = {}, {}, {}, {}, {}
local starts, ends, lengths, divisors, weights, tokens, flows = {}, {}, {}, {}, {}, {}, {}
for at = 1, #ARGV[1], 50 do
  local i = #kinds + 1
  local kind, p1, p2, p3
  kind, roles[i], ids[i], sizes[i], p1, p2, p3, factors[i] = unpack_from('<BBdddddd', ARGV[1], at)
  kinds[i] = kind
  if kind == CALENDAR then
    starts[i], ends[i], lengths[i] = p1, p2, p3 - p2
    if now < p1 or now >= p2 then kinds[i] = 0 end
  elseif kind == BUCKET then
    lengths[i], tokens[i], flows[i] = p1, p2, p3
  elseif kind == CONCURRENCY or kind == LOG then
    lengths[i] = p1
  else
    local start = now - now % p1
    starts[i], ends[i], lengths[i] = start, start + p1, p1
    if kind == SLIDING then
      divisors[i], weights[i] = p3, ceil((start + p1 - now) / p2)
    end
  end
end

-- values: key -> packed value; lives: key -> life in ms of the value to write. While a check that is not plain uses
-- them: states: key -> cells, holds: key -> reservations (both flat), logs: key -> logs.
local values, lives, states, holds, logs = redis.call('MGET', unpack(KEYS)), {}, {}, {}, {}

-- For a value of the same length and life: it is overwritten in place, in 0.4 µs instead of 1.
local KEEP = 'keep'
-- The life in ms of a value whose last cell or reservation ends at `last`, as text, because
-- Redis is slow to print numbers.
local texts = {}
local function life_until(last)
  local text = texts[last]
  if not text then
    text = string.format('%.0f', max(ceil((last - now) / 1000), 1) + spare)
    texts[last] = text
  end
  return text
end

local function number(blob, at)
  local n1, n2, n3, n4 = byte(blob, at, at + 3)
  return n1 + n2 * 256 + n3 * 65536 + n4 * 16777216
end

local out, pushed = {pack('<d', now)}, 1
local function push(text)
  pushed = pushed + 1
  out[pushed] = text
end
