-- Plain checks, then all others, then what is to be written.
local decide_plain, decide_others
local function by_rules(key, shape, floored, from, least)
  if not decide_plain then decide_plain, decide_others = rules() end
  decide_plain(key, shape, floored, from, least)
end

-- Shapes with all that does not depend on the subject: per limit a row of id, start of the period and of the one before, end
-- of the cell, price, size, and of a sliding window the weight of the period before. `last` is when a value ends that has
-- these cells and no others.
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

-- Plain checks of several limits, or with a floor, whose value has exactly their cells, in their order, or is missing. The
-- floor, from a start on at least so much of the limit of this number, is low for nearly every check.
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

-- Plain checks. Most of all checks are of one limit, over a value that such a check left or none: for those everything is a
-- local here, looked up once for as many as have the same shape in a row.
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
    decide_several(key, shape, value)
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
    decide_several(key, shape, value, floored, from, least)
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
