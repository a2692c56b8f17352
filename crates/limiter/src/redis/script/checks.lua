-- Plain checks, then all others, then what is to be written.
local decide_plain, decide_others
local function by_rules(key, shape, floored, from, least)
  if not decide_plain then decide_plain, decide_others = rules() end
  decide_plain(key, shape, floored, from, least)
end

-- Shapes with everything that does not depend on the subject. Per limit a row of id, start of the period and of the
-- previous one, end of the cell, price, size and, for a sliding window, the weight of the previous period. `last` is
-- the end of a value that has these cells and no others.
local shapes, blob, at = {}, ARGV[2], 1
while at <= #blob do
  local shape, limits = {cost = number(blob, at), last = 0}, byte(blob, at + 4)
  at = at + 5
  for n = 1, limits do
    local p1, p2 = byte(blob, at, at + 1)
    local policy = p1 + p2 * 256
    local start, price, last = starts[policy], shape.cost * factors[policy], ends[policy]
    at = at + 2
    shape[n] = policy
    if kinds[policy] == 0 then
      last = huge
    elseif kinds[policy] == SLIDING then
      last = start + 2 * lengths[policy]
    end
    local size = roles[policy] == ENFORCED and price > 0 and sizes[policy] or huge
    shape[n + limits] =
      {ids[policy], start, start - lengths[policy], last, price, size, weights[policy], divisors[policy]}
    shape.last = max(shape.last, last)
  end
  shape.limits, shape.format = limits, '<H' .. string.rep('ddddd', limits)
  shape.bytes, shape.header = 2 + 40 * limits, 1 + 256 * limits
  shapes[#shapes + 1] = shape
end

-- Plain checks of several limits, or with a floor, whose value is missing or has exactly their cells in
-- their order. The floor says that the limit of this number has used at least so much since a start; for
-- nearly every check it is low.
local function decide_several(key, shape, value, floored, from, least)
  local limits, state = shape.limits, value and {unpack_from(shape.format, value)} or {shape.header}
  if state[1] ~= shape.header then return by_rules(key, shape, floored, from, least) end
  local allowed, ended, at = true, 0, 2
  for n = limits + 1, 2 * limits do
    local row = shape[n]
    local start, price, weight = row[2], row[5], row[7]
    local a, b, c = start, 0, 0
    if value then
      a, b, c = state[at + 1], state[at + 2], state[at + 3]
      if state[at] ~= row[1] or a > start then return by_rules(key, shape, floored, from, least) end
      if a ~= start then
        b, c = weight and a == row[3] and c or 0, 0
      end
      if state[at + 4] > ended then ended = state[at + 4] end
    else
      state[at] = row[1]
    end
    if n - limits == floored and not weight and start == from and least > b then
      return by_rules(key, shape, floored, from, least)
    end
    if weight then
      if (b > 0 and ceil(b * weight / row[8]) + c or c) + price > row[6] then allowed = false end
      c = min(c + price, 4294967296)
    else
      if b + price > row[6] then allowed = false end
      b = min(b + price, 4503599627370496)
    end
    state[at + 1], state[at + 2], state[at + 3], state[at + 4] = start, b, c, row[4]
    at = at + 5
  end
  push(allowed and '\1' or '\0')
  if allowed and shape.cost > 0 then
    value = pack(shape.format, unpack(state, 1, at - 1))
    values[key] = value
    if not lives[key] then lives[key] = ended == shape.last and KEEP or life_until(shape.last) end
  end
  push(value or EMPTY)
end

-- The same for two limits, such as a rate and a quota, whose value exists: it uses locals only and takes half the time.
local function decide_pair(key, shape, value, floored, from, least)
  local header, i1, a1, b1, c1, u1, i2, a2, b2, c2, u2 = unpack_from('<Hdddddddddd', value)
  local one, two = shape[3], shape[4]
  local s1, s2, w1, w2 = one[2], two[2], one[7], two[7]
  if header ~= 513 or i1 ~= one[1] or i2 ~= two[1] or a1 > s1 or a2 > s2 then
    return by_rules(key, shape, floored, from, least)
  end
  if a1 ~= s1 then
    b1, c1 = w1 and a1 == one[3] and c1 or 0, 0
  end
  if a2 ~= s2 then
    b2, c2 = w2 and a2 == two[3] and c2 or 0, 0
  end
  if floored == 1 and not w1 and s1 == from and least > b1 or floored == 2 and not w2 and s2 == from and least > b2 then
    return by_rules(key, shape, floored, from, least)
  end
  local p1, p2, t1, t2 = one[5], two[5], b1, b2
  if w1 then t1 = b1 > 0 and ceil(b1 * w1 / one[8]) + c1 or c1 end
  if w2 then t2 = b2 > 0 and ceil(b2 * w2 / two[8]) + c2 or c2 end
  if t1 + p1 > one[6] or t2 + p2 > two[6] then
    push('\0')
  else
    push('\1')
    if p1 > 0 then
      if w1 then c1 = min(c1 + p1, 4294967296) else b1 = min(b1 + p1, 4503599627370496) end
      if w2 then c2 = min(c2 + p2, 4294967296) else b2 = min(b2 + p2, 4503599627370496) end
      value = pack('<Hdddddddddd', 513, i1, s1, b1, c1, one[4], i2, s2, b2, c2, two[4])
      values[key] = value
      if not lives[key] then lives[key] = max(u1, u2) == shape.last and KEEP or life_until(shape.last) end
    end
  end
  push(value)
end

local function decide_shaped(key, shape, value, floored, from, least)
  if value and shape.limits == 2 then return decide_pair(key, shape, value, floored, from, least) end
  return decide_several(key, shape, value, floored, from, least)
end

-- Plain checks. Most checks have one limit, and a value that such a check left, or none. For these everything is a
-- local here, looked up once for consecutive checks of the same shape.
local plain, number_of, shape = {byte(ARGV[3], 1, #ARGV[3])}
local single, id, start, before, last, price, size, weight, divisor, life
for at = 1, #plain, 4 do
  local key, of = plain[at] + plain[at + 1] * 256, plain[at + 2] + plain[at + 3] * 256
  if of ~= number_of then
    number_of, shape = of, shapes[of]
    single = shape.limits == 1 and shape.last ~= huge
    if single then
      id, start, before, last, price, size, weight, divisor = unpack(shape[2], 1, 8)
      life = life_until(last)
    end
  end
  local value, header, held, a, b, c = values[key], 257, id, start, 0, 0
  if single and value and #value == 42 then header, held, a, b, c = unpack_from('<Hdddd', value) end
  if single and (not value or #value == 42) and header == 257 and held == id and a <= start then
    local current = value and a == start
    if not current then
      b, c = weight and a == before and c or 0, 0
    end
    local taken = b
    if weight then
      taken = b > 0 and ceil(b * weight / divisor) + c or c
    end
    if taken + price > size then
      push('\0')
    else
      push('\1')
      if price > 0 then
        if weight then c = min(c + price, 4294967296) else b = min(b + price, 4503599627370496) end
        value = pack('<Hddddd', 257, id, start, b, c, last)
        values[key] = value
        if not lives[key] then lives[key] = current and KEEP or life end
      end
    end
    push(value or EMPTY)
  elseif shape.last ~= huge and (not value or #value == shape.bytes) then
    decide_shaped(key, shape, value)
  else
    by_rules(key, shape)
  end
end

local with_floors = ARGV[6]
for at = 1, #with_floors, 21 do
  local k1, k2, s1, s2, floored = byte(with_floors, at, at + 4)
  local from, least = unpack_from('<dd', with_floors, at + 5)
  local key, shape = k1 + k2 * 256, shapes[s1 + s2 * 256]
  local value = values[key]
  if shape.last ~= huge and (not value or #value == shape.bytes) then
    decide_shaped(key, shape, value, floored, from, least)
  else
    by_rules(key, shape, floored, from, least)
  end
end

if #ARGV[4] > 0 then
  if not decide_others then decide_plain, decide_others = rules() end
  decide_others()
end

for key, name in ipairs(KEYS) do
  local life = lives[key]
  if life == KEEP then
    redis.call('SETRANGE', name, '0', values[key])
  elseif life then
    redis.call('SET', name, values[key], 'PX', life)
  end
end
return table.concat(out)
