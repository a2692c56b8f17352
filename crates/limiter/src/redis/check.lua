-- Decides up to 64 checks. The twin of src/algorithm: it only rolls cells, decides and consumes; Rust explains the result.
-- KEYS     the subjects' values, each once
-- ARGV[1]  policies, 50 bytes each: kind, role (0 enforced, 1 counts only, 2 pays for slices only), id, limit, parameters
-- ARGV[2]  shapes of plain checks, of one subject and windows only: cost, limits; per limit: policy
-- ARGV[3]  plain checks, 4 bytes each: key, shape
-- ARGV[4]  all other checks: cost, slice wanted, operation, returns, subjects; but for operation 0 the hold's name and life;
--          per subject: key, limits, floors; per limit: policy; per floor: limit, start, used;
--          per return: amount, the moment it was consumed.
--          Operations: 0 consume, 1 consume and hold concurrency, 2 hold all, 3 end a hold and consume, 4 prolong a hold
-- ARGV[5]  the caller's clock in µs, or empty: the server's decides
-- Reply    the clock (8 bytes), then per check, plain ones first, its verdict and its subjects' values. 0 refused (for 3
--          and 4: no such hold), 1 allowed, 2 a calendar period is over (no values follow), 3 allowed with a slice (its
--          size follows, 8 bytes)
-- A value  version, number of cells, then per cell five doubles: id, a, b, c, until; in version 2 then the number of holds
--          (2 bytes) and per hold four doubles: cell, name, amount, until. All numbers are integers below 2^53.
local byte, char, ceil, floor = string.byte, string.char, math.ceil, math.floor
local unpack_from, pack = struct.unpack, struct.pack
local SLIDING, EVERY, CALENDAR, BUCKET, CONCURRENCY = 1, 2, 3, 4, 5
local CONSUME, ACQUIRE, RESERVE, SETTLE, RENEW = 0, 1, 2, 3, 4
local ENFORCED, GUARD = 0, 2
local MAX_CELLS, MAX_HOLDS, EMPTY = 64, 1000, char(1, 0)
-- A slice is at most this part of what is left, so that slices shrink as a limit comes near, however many nodes take them.
local SLICE = 8
-- Fewer units are not worth a slice: so near to a limit every check is decided here, and none is refused for units that
-- a node holds and does not use.
local SMALLEST_SLICE = 16

-- The server's clock rules over expiry; a caller's clock may stand still beside it, so its values are kept an hour longer.
local now, spare
if ARGV[5] == '' then
  local time = redis.call('TIME')
  now, spare = time[1] * 1000000 + time[2], 0
else
  now, spare = tonumber(ARGV[5]), 3600000
end

-- What a policy makes of this moment, once per call: kind, role, id, size, weight; of a window the period around now, its
-- length and the share of the previous one that still counts; of a bucket the parts of a token and those that flow in per us.
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
  elseif kind == CONCURRENCY then
    lengths[i] = p1
  else
    local start = now - now % p1
    starts[i], ends[i], lengths[i] = start, start + p1, p1
    if kind == SLIDING then
      divisors[i], weights[i] = p3, ceil((start + p1 - now) / p2)
    end
  end
end

local formats = {{}, {}}
local function format(doubles, records)
  local found = formats[doubles]
  if not found then
    found = {}
    formats[doubles] = found
  end
  if not found[records] then found[records] = '<' .. string.rep('d', doubles * records) end
  return found[records]
end

-- values: key -> packed value; lives: key -> what is to be written lives so many ms; states and holds: key -> its cells and
-- its holds, flat, while a check that is not plain looks at them.
local values, lives, states, holds = redis.call('MGET', unpack(KEYS)), {}, {}, {}

-- How long a value lives whose last cell or hold ends then, as text: numbers that stand in a command are slow to print.
local texts = {}
local function life_until(last)
  local text = texts[last]
  if not text then
    text = string.format('%.0f', math.max(ceil((last - now) / 1000), 1) + spare)
    texts[last] = text
  end
  return text
end

-- Whether a value is of a known shape; anything else, such as what another program left, is written over.
local function shape(value)
  if not value or #value < 2 then return end
  local version, cells = byte(value, 1, 2)
  local rest = #value - 2 - 40 * cells
  if version == 1 and rest == 0 then return cells, 0 end
  if version ~= 2 or rest < 2 then return end
  local low, high = byte(value, 3 + 40 * cells, 4 + 40 * cells)
  if rest == 2 + 32 * (low + 256 * high) then return cells, low + 256 * high end
end

local function load(key)
  local value = values[key]
  local cells, held = shape(value)
  if not cells then
    values[key], states[key] = EMPTY, {}
    return states[key]
  end
  local state = cells > 0 and {unpack_from(format(5, cells), value, 3)} or {}
  state[5 * cells + 1] = nil
  states[key] = state
  if held > 0 then
    holds[key] = {unpack_from(format(4, held), value, 5 + 40 * cells)}
    holds[key][4 * held + 1] = nil
  end
  return state
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

local function save(key)
  local state, held = states[key], holds[key]
  local cells, last = #state / 5, 0
  for at = 5, #state, 5 do
    if state[at] > last then last = state[at] end
  end
  local packed = cells > 0 and pack(format(5, cells), unpack(state)) or ''
  if held and #held > 0 then
    local count = #held / 4
    for at = 4, #held, 4 do
      if held[at] > last then last = held[at] end
    end
    values[key] = char(2, cells) .. packed .. char(count % 256, floor(count / 256)) .. pack(format(4, count), unpack(held))
  else
    values[key] = char(1, cells) .. packed
  end
  lives[key] = life_until(last)
end

-- Drops what is held on a cell under a name, and what has ended; adds it anew when there is an end.
local function hold(key, cell, name, amount, last)
  local kept, old = {}, holds[key] or {}
  for at = 1, #old, 4 do
    if old[at + 3] > now and not (old[at] == cell and old[at + 1] == name) then
      local next = #kept
      kept[next + 1], kept[next + 2], kept[next + 3], kept[next + 4] = old[at], old[at + 1], old[at + 2], old[at + 3]
    end
  end
  if last then
    local next = #kept
    kept[next + 1], kept[next + 2], kept[next + 3], kept[next + 4] = cell, name, amount, last
  end
  holds[key] = kept
end

-- The place of what is held on a cell under a name.
local function held_at(key, cell, name)
  local held = holds[key]
  for at = 1, held and #held or 0, 4 do
    if held[at] == cell and held[at + 1] == name then return at end
  end
end

-- One entry per limit of the check under way.
local key_of, policy_of, a_of, b_of, c_of, until_of, changed_of, clamped_of, held_of = {}, {}, {}, {}, {}, {}, {}, {}, {}

local function roll_window(n, state, policy, at)
  local kind, start, length = kinds[policy], starts[policy], lengths[policy]
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
  a_of[n], b_of[n], c_of[n], changed_of[n], clamped_of[n] = a, b, c, moved, clamped
end

local function roll_bucket(n, state, policy, at)
  local token, flow, size = tokens[policy], flows[policy], sizes[policy]
  local a, missing, moved = now, 0, false
  if at then
    local held, parts = state[at + 1], state[at + 3]
    missing = state[at + 2]
    if parts ~= token and parts > 0 then
      missing = math.min(floor(missing / parts), size) * token + (missing % parts > 0 and token or 0)
    end
    missing = math.min(missing, size * token)
    if held <= now then
      local elapsed = now - held
      missing = elapsed >= ceil(missing / flow) and 0 or missing - elapsed * flow
    elseif held - now <= lengths[policy] then
      a = held
    else
      moved = true
    end
  end
  a_of[n], b_of[n], c_of[n], changed_of[n] = a, missing, token, moved
end

-- What is held on a cell by all but the hold called name.
local function held_by_others(key, cell, name)
  local held, sum = holds[key], 0
  for at = 1, #held, 4 do
    if held[at] == cell and held[at + 1] ~= name and held[at + 3] > now then sum = sum + held[at + 2] end
  end
  return sum
end

local function roll(n, key, policy, name)
  local state, kind = states[key], kinds[policy]
  key_of[n], policy_of[n] = key, policy
  held_of[n] = holds[key] and held_by_others(key, ids[policy], name) or 0
  if kind == CONCURRENCY then
    a_of[n], b_of[n], c_of[n], changed_of[n], until_of[n] = 0, 0, 0, false, 0
  elseif kind == BUCKET then
    roll_bucket(n, state, policy, find(state, ids[policy]))
  else
    roll_window(n, state, policy, find(state, ids[policy]))
  end
end

-- Whether a subject may hold what a check would have it hold.
local function has_room(key, name, wanted)
  local held, others = holds[key], 0
  for at = 1, held and #held or 0, 4 do
    if held[at + 1] ~= name and held[at + 3] > now then others = others + 1 end
  end
  return others + wanted <= MAX_HOLDS
end

local function used(n)
  local policy = policy_of[n]
  local kind = kinds[policy]
  if kind == CONCURRENCY then return held_of[n] end
  if kind == BUCKET then return ceil(b_of[n] / tokens[policy]) + held_of[n] end
  if kind ~= SLIDING then return b_of[n] + held_of[n] end
  if b_of[n] == 0 then return c_of[n] + held_of[n] end
  local divisor = divisors[policy]
  return ceil(b_of[n] * (clamped_of[n] and divisor or weights[policy]) / divisor) + c_of[n] + held_of[n]
end

local function consume(n, price)
  local policy = policy_of[n]
  local kind = kinds[policy]
  if kind == SLIDING then
    c_of[n] = math.min(c_of[n] + price, 4294967296)
  elseif kind == BUCKET then
    local size, token = sizes[policy], tokens[policy]
    b_of[n] = math.min(b_of[n] + math.min(price, size) * token, size * token)
  elseif kind ~= CONCURRENCY then
    b_of[n] = math.min(b_of[n] + price, 4503599627370496)
  end
end

-- Takes back what was consumed at a moment, as far as its window still counts.
local function give(n, cost, moment)
  local policy, a, b, c = policy_of[n], a_of[n], b_of[n], c_of[n]
  local kind, amount = kinds[policy], cost * factors[policy]
  if kind == CONCURRENCY then
    return
  elseif kind == BUCKET then
    b_of[n] = math.max(b - math.min(amount, sizes[policy]) * tokens[policy], 0)
  elseif kind == SLIDING and moment >= a then
    c_of[n] = math.max(c - amount, 0)
  elseif kind == SLIDING and moment >= a - lengths[policy] or moment >= a then
    b_of[n] = math.max(b - amount, 0)
  end
  if b_of[n] ~= b or c_of[n] ~= c then changed_of[n] = true end
end

-- What a check of this cost finds: whether all limits let it through, and how large a slice they can spare.
local function decide(limits, cost, slice)
  local allowed = true
  for n = 1, limits do
    local policy = policy_of[n]
    local role, factor = roles[policy], factors[policy]
    if role == ENFORCED and cost > 0 then
      local left = sizes[policy] - used(n) - cost * factor
      if left < 0 then allowed = false end
      slice = math.min(slice, floor(left / (SLICE * factor)))
    elseif role == GUARD then
      slice = math.min(slice, floor((sizes[policy] - used(n)) / factor))
    end
  end
  return allowed, slice < SMALLEST_SLICE and 0 or slice
end

-- Holds a price, ends or prolongs a hold. True when the price is not to be consumed, and whether there was such a hold.
local function take(n, operation, name, life, price)
  local key, policy = key_of[n], policy_of[n]
  local cell, only_holds = ids[policy], kinds[policy] == CONCURRENCY
  if only_holds then life = lengths[policy] end
  if operation == RESERVE or operation == ACQUIRE and only_holds then
    if price > 0 then hold(key, cell, name, price, now + life) end
    return true, price > 0
  elseif operation == SETTLE then
    local at = held_at(key, cell, name)
    local live = at and holds[key][at + 3] > now
    if at then hold(key, cell, name) end
    return only_holds, at, live
  elseif operation == RENEW then
    local at = held_at(key, cell, name)
    local live = at and holds[key][at + 3] > now
    if live then hold(key, cell, name, holds[key][at + 2], now + life) end
    return true, live, live
  end
  return only_holds, false
end

-- Consumes a cost and a slice from every limit, or holds it, and packs what changed. True when a hold was found.
local function write(limits, cost, slice, operation, name, life)
  local touched, found = {}, false
  for n = 1, limits do
    local policy, key = policy_of[n], key_of[n]
    local price = ((roles[policy] == GUARD and 0 or cost) + slice) * factors[policy]
    local instead, held, live = false, false, false
    if operation ~= CONSUME then instead, held, live = take(n, operation, name, life, price) end
    found = found or live
    if price > 0 and not instead then
      consume(n, price)
      changed_of[n] = true
    end
    if changed_of[n] and kinds[policy] ~= CONCURRENCY then
      local state, id = states[key], ids[policy]
      local cell = find(state, id) or append(state)
      local last = kinds[policy] == BUCKET and a_of[n] + ceil(b_of[n] / flows[policy]) or until_of[n]
      state[cell], state[cell + 1], state[cell + 2], state[cell + 3], state[cell + 4] = id, a_of[n], b_of[n], c_of[n], last
      touched[key] = true
    elseif held then
      touched[key] = true
    end
  end
  for key in pairs(touched) do save(key) end
  return found
end

local function number(blob, at)
  local n1, n2, n3, n4 = byte(blob, at, at + 3)
  return n1 + n2 * 256 + n3 * 65536 + n4 * 16777216
end

local out = {pack('<d', now)}

-- A plain check by the rules for all: the value has other cells or none, the clock stepped back, or a period is over.
local function decide_plain(key, shape)
  load(key)
  for n = 1, #shape do
    if kinds[shape[n]] == 0 then
      out[#out + 1] = '\2'
      return
    end
    roll(n, key, shape[n])
  end
  local allowed = decide(#shape, shape.cost, 0)
  write(#shape, allowed and shape.cost or 0, 0, CONSUME)
  states[key], holds[key] = nil, nil
  out[#out + 1] = allowed and '\1' or '\0'
  out[#out + 1] = values[key]
end

-- Shapes with all that does not depend on the subject. `last` is when a value ends that has these cells and no others.
local shapes, blob, at = {}, ARGV[2], 1
while at <= #blob do
  local shape, limits = {cost = number(blob, at), last = 0}, byte(blob, at + 4)
  at = at + 5
  for n = 1, limits do
    local p1, p2 = byte(blob, at, at + 1)
    local policy = p1 + p2 * 256
    at = at + 2
    shape[n] = policy
    local last = kinds[policy] == SLIDING and starts[policy] + 2 * lengths[policy] or ends[policy]
    if kinds[policy] == 0 then last = math.huge end
    if last > shape.last then shape.last = last end
  end
  shape.format, shape.bytes = '<BB' .. string.rep('ddddd', limits), 2 + 40 * limits
  shapes[#shapes + 1] = shape
end

-- Plain checks of one limit whose value is as they left it last, or not there: most of all checks. Everything is a local.
local function decide_single(key, shape, value)
  local policy, cost = shape[1], shape.cost
  local start, until_, b, c = starts[policy], shape.last, 0, 0
  local sliding, id = kinds[policy] == SLIDING, ids[policy]
  if value then
    local _, _, held_id, a, held_b, held_c = unpack_from('<BBddddd', value)
    if held_id ~= id or a > start then return decide_plain(key, shape) end
    if a == start then
      b, c = held_b, held_c
    elseif sliding and a == start - lengths[policy] then
      b = held_c
    end
  end
  local price, taken = cost * factors[policy], b
  if sliding then
    taken = c
    if b > 0 then taken = ceil(b * weights[policy] / divisors[policy]) + c end
  end
  if price > 0 and taken + price > sizes[policy] and roles[policy] == ENFORCED then
    out[#out + 1] = '\0'
    out[#out + 1] = value or EMPTY
    return
  end
  out[#out + 1] = '\1'
  if price > 0 then
    if sliding then c = math.min(c + price, 4294967296) else b = math.min(b + price, 4503599627370496) end
    value = pack('<BBddddd', 1, 1, id, start, b, c, until_)
    values[key], lives[key] = value, life_until(until_)
  end
  out[#out + 1] = value or EMPTY
end

-- Plain checks of several limits whose value has exactly their cells, in their order.
local function decide_several(key, shape, value)
  local limits, cost, state = #shape, shape.cost, {unpack_from(shape.format, value)}
  local allowed = true
  for n = 1, limits do
    local policy, o = shape[n], 5 * n - 2
    local start, a = starts[policy], state[o + 1]
    if state[o] ~= ids[policy] or a > start then return decide_plain(key, shape) end
    local sliding, b, c = kinds[policy] == SLIDING, state[o + 2], state[o + 3]
    if a ~= start then
      b, c = sliding and a == start - lengths[policy] and c or 0, 0
    end
    local price, taken = cost * factors[policy], b
    if sliding then
      taken = c
      if b > 0 then taken = ceil(b * weights[policy] / divisors[policy]) + c end
      c = math.min(c + price, 4294967296)
    else
      b = math.min(b + price, 4503599627370496)
    end
    if price > 0 and taken + price > sizes[policy] and roles[policy] == ENFORCED then allowed = false end
    state[o + 1], state[o + 2], state[o + 3], state[o + 4] = start, b, c, sliding and start + 2 * lengths[policy] or ends[policy]
  end
  out[#out + 1] = allowed and '\1' or '\0'
  if allowed and cost > 0 then
    value = pack(shape.format, unpack(state, 1, 5 * limits + 2))
    values[key], lives[key] = value, life_until(shape.last)
  end
  out[#out + 1] = value
end

local plain = ARGV[3]
for at = 1, #plain, 4 do
  local k1, k2, s1, s2 = byte(plain, at, at + 3)
  local key, shape = k1 + k2 * 256, shapes[s1 + s2 * 256]
  local value = values[key]
  if shape.last == math.huge or value and (#value ~= shape.bytes or byte(value) ~= 1) then
    decide_plain(key, shape)
  elseif #shape == 1 then
    decide_single(key, shape, value)
  elseif value then
    decide_several(key, shape, value)
  else
    decide_plain(key, shape)
  end
end

local checks, at, last = ARGV[4], 1, #ARGV[4]
while at <= last do
  local cost, slice, operation, returns, parts = number(checks, at), number(checks, at + 4), byte(checks, at + 8, at + 10)
  at = at + 11
  local name, life
  if operation ~= CONSUME then
    name, life = unpack_from('<dd', checks, at)
    at = at + 16
  end
  local limits, stale, room, keys = 0, false, true, {}
  for part = 1, parts do
    local k1, k2, count, floors = byte(checks, at, at + 3)
    local key = k1 + k2 * 256
    at = at + 4
    keys[part] = key
    local base, wanted = limits, 0
    if not states[key] then load(key) end
    for _ = 1, count do
      local p1, p2 = byte(checks, at, at + 1)
      local policy = p1 + p2 * 256
      at = at + 2
      limits = limits + 1
      if kinds[policy] == 0 then stale = true end
      if operation == RESERVE or operation == ACQUIRE and kinds[policy] == CONCURRENCY then wanted = wanted + 1 end
      roll(limits, key, policy, name)
    end
    if cost > 0 and wanted > 0 and not has_room(key, name, wanted) then room = false end
    for _ = 1, floors do
      local limit, start, least = unpack_from('<Bdd', checks, at)
      at = at + 17
      local n = base + limit
      local kind = kinds[policy_of[n]]
      if (kind == EVERY or kind == CALENDAR) and a_of[n] == start and least > b_of[n] then
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
    if operation == SETTLE or operation == RENEW then
      local found = write(limits, operation == SETTLE and cost or 0, 0, operation, name, life)
      out[#out + 1] = found and '\1' or '\0'
    else
      local allowed, spare = decide(limits, cost, slice)
      allowed = allowed and room
      if not allowed or cost == 0 or spare < 0 then spare = 0 end
      out[#out + 1] = spare > 0 and '\3' .. pack('<d', spare) or allowed and '\1' or '\0'
      write(limits, allowed and cost or 0, spare, allowed and operation or CONSUME, name, life)
    end
    for part = 1, parts do out[#out + 1] = values[keys[part]] end
  end
end

for key, name in ipairs(KEYS) do
  if lives[key] then redis.call('SET', name, values[key], 'PX', lives[key]) end
end
return table.concat(out)
