-- Decides up to 64 checks. The twin of src/algorithm: it only rolls cells, decides and consumes; Rust explains the result.
-- KEYS     the subjects' values, each once
-- ARGV[1]  policies, 50 bytes each: kind, counts only, id, limit, four parameters
-- ARGV[2]  checks: cost, slice wanted, returns, subjects; per subject: key, limits, floors; per limit: policy;
--          per floor: limit, start, used; per return: amount, the moment it was consumed
-- ARGV[3]  the caller's clock in µs, or empty: the server's decides
-- Reply    the clock (8 bytes), then per check its verdict and its subjects' values. 0 refused, 1 allowed, 2 a calendar
--          period is over (no values follow), 3 allowed with a slice (its size follows, 8 bytes)
-- A value  version 1, number of cells, then per cell five doubles: id, a, b, c, until. All numbers are integers below 2^53.
local byte, char, ceil, floor = string.byte, string.char, math.ceil, math.floor
local unpack_from, pack = struct.unpack, struct.pack
local SLIDING, EVERY, CALENDAR = 1, 2, 3
local MAX_CELLS, EMPTY = 64, char(1, 0)
-- A slice is at most this part of what is left, so that slices shrink as a limit comes near, however many nodes take them.
local SLICE = 8

-- The server's clock rules over expiry; a caller's clock may stand still beside it, so its values are kept an hour longer.
local now, spare
if ARGV[3] == '' then
  local time = redis.call('TIME')
  now, spare = time[1] * 1000000 + time[2], 0
else
  now, spare = tonumber(ARGV[3]), 3600000
end

-- What a policy makes of this moment, once per call: kind, counts only, id, limit, and the period around now.
local kinds, counts, ids, sizes, starts, ends, lengths, divisors, weights = {}, {}, {}, {}, {}, {}, {}, {}, {}
for at = 1, #ARGV[1], 50 do
  local kind, only, id, limit, p1, p2, p3 = unpack_from('<BBddddd', ARGV[1], at)
  local i = #kinds + 1
  kinds[i], counts[i], ids[i], sizes[i] = kind, only == 1, id, limit
  if kind == CALENDAR then
    starts[i], ends[i], lengths[i] = p1, p2, p3 - p2
    if now < p1 or now >= p2 then kinds[i] = 0 end
  else
    local start = now - now % p1
    starts[i], ends[i], lengths[i] = start, start + p1, p1
    if kind == SLIDING then
      divisors[i], weights[i] = p3, ceil((start + p1 - now) / p2)
    end
  end
end

local formats = {}
local function format(cells)
  local found = formats[cells]
  if not found then
    found = '<' .. string.rep('ddddd', cells)
    formats[cells] = found
  end
  return found
end

-- values: key -> packed value; states: key -> its cells, flat; dirty: key -> to be written.
local values, states, dirty = redis.call('MGET', unpack(KEYS)), {}, {}
local function load(key)
  local value = values[key]
  local cells = value and byte(value, 1) == 1 and byte(value, 2) or 0
  if cells == 0 or #value ~= 2 + 40 * cells then
    values[key] = EMPTY
    states[key] = {}
  else
    local state = {unpack_from(format(cells), value, 3)}
    state[5 * cells + 1] = nil
    states[key] = state
  end
  return states[key]
end

local function find(state, id)
  for at = 1, #state, 5 do
    if state[at] == id then return at end
  end
end

-- Makes room for a new cell: dead cells go, and the one that ends first when there are too many.
local function append(state)
  local kept, first = 0, nil
  for at = 1, #state, 5 do
    if state[at + 4] > now then
      for field = 0, 4 do state[kept * 5 + 1 + field] = state[at + field] end
      kept = kept + 1
      local last = kept * 5 - 4
      if not first or state[last + 4] < state[first + 4] then first = last end
    end
  end
  for at = #state, kept * 5 + 1, -1 do state[at] = nil end
  if kept < MAX_CELLS then return kept * 5 + 1 end
  return first
end

local function save(key, state)
  local cells = #state / 5
  values[key] = char(1, cells) .. pack(format(cells), unpack(state))
  dirty[key] = true
end

-- One entry per limit of the check under way.
local key_of, policy_of, a_of, b_of, c_of, until_of, changed_of, clamped_of = {}, {}, {}, {}, {}, {}, {}, {}

local function roll(n, state, policy)
  local kind, start, length = kinds[policy], starts[policy], lengths[policy]
  local at = find(state, ids[policy])
  local a, b, c, moved, clamped = start, 0, 0, false, false
  if at then
    local held = state[at + 1]
    if held == start then
      b, c = state[at + 2], state[at + 3]
    elseif held == ends[policy] then
      a, b, c, clamped = held, state[at + 2], state[at + 3], true
    elseif held > start then
      b, c, moved = state[at + 2], state[at + 3], true
    elseif kind == SLIDING and held == start - length then
      b = state[at + 3]
    end
  end
  if kind == SLIDING then
    until_of[n] = a + 2 * length
  else
    until_of[n] = clamped and a + length or ends[policy]
  end
  a_of[n], b_of[n], c_of[n], policy_of[n], changed_of[n], clamped_of[n] = a, b, c, policy, moved, clamped
end

local function used(n)
  local policy = policy_of[n]
  if kinds[policy] ~= SLIDING then return b_of[n] end
  if b_of[n] == 0 then return c_of[n] end
  local divisor = divisors[policy]
  return ceil(b_of[n] * (clamped_of[n] and divisor or weights[policy]) / divisor) + c_of[n]
end

local function consume(n, cost)
  if kinds[policy_of[n]] == SLIDING then
    c_of[n] = math.min(c_of[n] + cost, 4294967296)
  else
    b_of[n] = math.min(b_of[n] + cost, 4503599627370496)
  end
end

-- Takes back what was consumed at a moment, as far as its window still counts.
local function give(n, amount, moment)
  local policy = policy_of[n]
  local a = a_of[n]
  if kinds[policy] == SLIDING then
    if moment >= a and c_of[n] > 0 then
      c_of[n], changed_of[n] = math.max(c_of[n] - amount, 0), true
    elseif moment < a and moment >= a - lengths[policy] and b_of[n] > 0 then
      b_of[n], changed_of[n] = math.max(b_of[n] - amount, 0), true
    end
  elseif moment >= a and b_of[n] > 0 then
    b_of[n], changed_of[n] = math.max(b_of[n] - amount, 0), true
  end
end

-- What a check of this cost finds: whether all limits let it through, and how large a slice they can spare.
local function decide(limits, cost, slice)
  local allowed = true
  for n = 1, limits do
    local policy = policy_of[n]
    if cost > 0 and not counts[policy] then
      local left = sizes[policy] - used(n) - cost
      if left < 0 then allowed = false end
      slice = math.min(slice, floor(left / SLICE))
    end
  end
  return allowed, slice
end

local function write(limits, consumed)
  local touched = {}
  for n = 1, limits do
    if consumed > 0 then consume(n, consumed) end
    if consumed > 0 or changed_of[n] then
      local key = key_of[n]
      local state = states[key]
      local id = ids[policy_of[n]]
      local cell = find(state, id) or append(state)
      state[cell], state[cell + 1], state[cell + 2], state[cell + 3], state[cell + 4] =
        id, a_of[n], b_of[n], c_of[n], until_of[n]
      touched[key] = state
    end
  end
  for key, state in pairs(touched) do save(key, state) end
end

local function number(blob, at)
  local n1, n2, n3, n4 = byte(blob, at, at + 3)
  return n1 + n2 * 256 + n3 * 65536 + n4 * 16777216
end

local out, checks, at, last = {pack('<d', now)}, ARGV[2], 1, #ARGV[2]
while at <= last do
  local cost, slice, returns, parts = number(checks, at), number(checks, at + 4), byte(checks, at + 8, at + 9)
  at = at + 10
  local limits, stale, keys = 0, false, {}
  for part = 1, parts do
    local k1, k2, count, floors = byte(checks, at, at + 3)
    local key = k1 + k2 * 256
    at = at + 4
    keys[part] = key
    local state, base = states[key] or load(key), limits
    for _ = 1, count do
      local p1, p2 = byte(checks, at, at + 1)
      at = at + 2
      limits = limits + 1
      key_of[limits] = key
      if kinds[p1 + p2 * 256] == 0 then stale = true end
      roll(limits, state, p1 + p2 * 256)
    end
    for _ = 1, floors do
      local limit, start, least = unpack_from('<Bdd', checks, at)
      at = at + 17
      local n = base + limit
      if kinds[policy_of[n]] ~= SLIDING and a_of[n] == start and least > b_of[n] then
        b_of[n], changed_of[n] = least, true
      end
    end
  end
  for _ = 1, returns do
    local amount, moment = unpack_from('<dd', checks, at)
    at = at + 16
    for n = 1, limits do give(n, amount, moment) end
  end
  if stale then
    out[#out + 1] = '\2'
  else
    local allowed, spare = decide(limits, cost, slice)
    local consumed = allowed and cost or 0
    if consumed > 0 and spare > 0 then
      consumed = consumed + spare
      out[#out + 1] = '\3' .. pack('<d', spare)
    else
      out[#out + 1] = allowed and '\1' or '\0'
    end
    write(limits, consumed)
    for part = 1, parts do out[#out + 1] = values[keys[part]] end
  end
end

local lives = {}
for key in pairs(dirty) do
  local state, last_until = states[key], 0
  for cell = 5, #state, 5 do
    if state[cell] > last_until then last_until = state[cell] end
  end
  local life = math.max(ceil((last_until - now) / 1000), 1) + spare
  local text = lives[life]
  if not text then
    text = string.format('%.0f', life)
    lives[life] = text
  end
  redis.call('SET', KEYS[key], values[key], 'PX', text)
end
return table.concat(out)
