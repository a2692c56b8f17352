-- The rules for all checks: any number of subjects, every algorithm, floors, reservations, slices and returns. The
-- functions are created only when needed, because creating them takes as long as a dozen plain checks.
local function rules()
  local formats = {{}, {}}
  -- For subjects with logs: key -> the part of the value before the logs, without the version; and which of
  -- these values must still be joined.
  local heads, unwritten = {}, {}
  local function format(doubles, records)
    local found = formats[doubles]
    if not found then
      found = {}
      formats[doubles] = found
    end
    if not found[records] then found[records] = '<' .. string.rep('d', doubles * records) end
    return found[records]
  end

  -- Whether a value has a known form. Anything else, such as a value of another program, is overwritten.
  local function shape(value)
    if not value or #value < 2 then return end
    local version, cells = byte(value, 1, 2)
    local rest = #value - 2 - 40 * cells
    if version == 1 and rest == 0 then return cells, 0 end
    if version ~= 2 and version ~= 3 or rest < 2 then return end
    local low, high = byte(value, 3 + 40 * cells, 4 + 40 * cells)
    local held = low + 256 * high
    local at = 5 + 40 * cells + 32 * held
    if version == 2 then
      if at == #value + 1 then return cells, held end
    elseif log_rules().are_logs(value, at) then
      return cells, held, at
    end
  end

  local function load(key)
    local value = values[key]
    local cells, held, logged = shape(value)
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
    if logged then
      logs[key], heads[key] = log_rules().load(value, logged), sub(value, 2, logged - 1)
    end
    return state
  end

  local function find(state, id)
    for at = 1, #state, 5 do
      if state[at] == id then return at end
    end
  end

  -- Makes room for a new cell: drops dead cells, and the one that ends first when there are too many.
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

  -- Packs a subject's cells, reservations and logs into its value. Logs are long, so a value with
  -- logs is joined once, at the end.
  local function save(key)
    local state, held = states[key], holds[key]
    local cells, last = #state / 5, 0
    for at = 5, #state, 5 do
      if state[at] > last then last = state[at] end
    end
    local packed = cells > 0 and pack(format(5, cells), unpack(state)) or ''
    local count = held and #held / 4 or 0
    for at = 4, 4 * count, 4 do
      if held[at] > last then last = held[at] end
    end
    local packed_holds = count > 0 and pack(format(4, count), unpack(held)) or ''
    if logs[key] then
      for _, log in ipairs(logs[key]) do last = max(last, log.last) end
      heads[key], unwritten[key] = char(cells) .. packed .. pack('<H', count) .. packed_holds, true
    else
      unwritten[key] = nil
      if count > 0 then
        values[key] = char(2, cells) .. packed .. pack('<H', count) .. packed_holds
      else
        values[key] = char(1, cells) .. packed
      end
    end
    lives[key] = life_until(last)
  end

  -- Joins the value of a subject with logs.
  local function finish(key)
    if unwritten[key] then values[key], unwritten[key] = log_rules().pack(heads[key], logs[key]), nil end
    return values[key]
  end

  -- Drops the named reservation on a cell, and those that have ended; adds it again when `last` is given.
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

  -- The place of the named reservation on a cell.
  local function held_at(key, cell, name)
    local held = holds[key]
    for at = 1, held and #held or 0, 4 do
      if held[at] == cell and held[at + 1] == name then return at end
    end
  end

  local function find_log(key, id)
    for at, log in ipairs(logs[key] or {}) do
      if log.id == id then return log, at end
    end
  end

  -- One element per limit of the current check. `idle_of` is set for limits beyond another: whether the cost fits into
  -- the limit before.
  local key_of, policy_of, a_of, b_of, c_of, until_of, changed_of, clamped_of, held_of = {}, {}, {}, {}, {}, {}, {}, {}, {}
  local idle_of = {}

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
        missing = min(floor(missing / parts), size) * token + (missing % parts > 0 and token or 0)
      end
      missing = min(missing, size * token)
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

  -- For a log, `a` is the moment that the rule uses, `b` its units, and `c` how many moments have left.
  local function roll_log(n, key, policy)
    local log = find_log(key, ids[policy])
    a_of[n], b_of[n], c_of[n], changed_of[n] = now, 0, 0, false
    if log then a_of[n], b_of[n], c_of[n], changed_of[n] = log_rules().roll(log, lengths[policy]) end
  end

  local function consume_log(n, price)
    local key, policy = key_of[n], policy_of[n]
    local log
    log, logs[key] = log_rules().to_write(logs[key] or {}, ids[policy])
    -- A log that was begun again has dropped its dead moments.
    local dropped = min(c_of[n], log.moments)
    b_of[n], c_of[n] = log_rules().consume(log, a_of[n], b_of[n], dropped, price, lengths[policy]), 0
  end

  local function give_log(n, amount, moment)
    local key, policy = key_of[n], policy_of[n]
    local log, place = find_log(key, ids[policy])
    if not log or moment <= a_of[n] - lengths[policy] then return end
    b_of[n] = log_rules().give(log, b_of[n], c_of[n], amount, moment, lengths[policy])
    c_of[n], changed_of[n] = 0, true
    if log.moments == 0 then table.remove(logs[key], place) end
    if #logs[key] == 0 then logs[key] = nil end
  end

  -- Units reserved on a cell by all reservations except the one called name.
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
    elseif kind == LOG then
      roll_log(n, key, policy)
    elseif kind == BUCKET then
      roll_bucket(n, state, policy, find(state, ids[policy]))
    else
      roll_window(n, state, policy, find(state, ids[policy]))
    end
  end

  -- Whether a subject has room for the reservations of a check.
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
    if kind ~= SLIDING then return b_of[n] + held_of[n] end -- of a log too
    if b_of[n] == 0 then return c_of[n] + held_of[n] end
    local divisor = divisors[policy]
    return ceil(b_of[n] * (clamped_of[n] and divisor or weights[policy]) / divisor) + c_of[n] + held_of[n]
  end

  local function consume(n, price)
    local policy = policy_of[n]
    local kind = kinds[policy]
    if kind == SLIDING then
      c_of[n] = min(c_of[n] + price, 4294967296)
    elseif kind == LOG then
      consume_log(n, price)
    elseif kind == BUCKET then
      local size, token = sizes[policy], tokens[policy]
      b_of[n] = min(b_of[n] + min(price, size) * token, size * token)
    elseif kind ~= CONCURRENCY then
      b_of[n] = min(b_of[n] + price, 4503599627370496)
    end
  end

  -- Whether a cost fits into a limit.
  local function fits(n, cost)
    local policy = policy_of[n]
    return used(n) + cost * factors[policy] <= sizes[policy]
  end

  -- Takes back what was consumed at a moment, if its window still counts.
  local function give(n, cost, moment)
    local policy, a, b, c = policy_of[n], a_of[n], b_of[n], c_of[n]
    local kind, amount = kinds[policy], cost * factors[policy]
    if kind == CONCURRENCY or roles[policy] == BEYOND and fits(n - 1, 0) then
      return
    elseif kind == LOG then
      return give_log(n, min(amount, MAX_UNITS), moment)
    elseif kind == BUCKET then
      b_of[n] = max(b - min(amount, sizes[policy]) * tokens[policy], 0)
    elseif kind == SLIDING and moment >= a then
      c_of[n] = max(c - amount, 0)
    elseif kind == SLIDING and moment >= a - lengths[policy] or moment >= a then
      b_of[n] = max(b - amount, 0)
    end
    if b_of[n] ~= b or c_of[n] ~= c then changed_of[n] = true end
  end

  -- Whether all limits allow a check of this cost, and how large a slice they can spare.
  local function decide(limits, cost, slice)
    local allowed = true
    for n = 1, limits do
      local policy = policy_of[n]
      local role, factor = roles[policy], factors[policy]
      if role == ENFORCED and cost > 0 then
        local left = sizes[policy] - used(n) - cost * factor
        if left < 0 then allowed = false end
        slice = min(slice, floor(left / (SLICE * factor)))
      elseif role == GUARD then
        slice = min(slice, floor((sizes[policy] - used(n)) / factor))
      elseif role == BEYOND then
        idle_of[n] = fits(n - 1, cost)
        if cost > 0 and not idle_of[n] and not fits(n, cost) then allowed = false end
      end
    end
    return allowed, slice < SMALLEST_SLICE and 0 or slice
  end

  -- Makes, ends or extends a reservation. Returns true when the price is not consumed, and
  -- whether the reservation existed.
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

  -- Consumes a cost and a slice from every limit, or reserves it, and packs the changes.
  -- True when a reservation existed.
  local function write(limits, cost, slice, operation, name, life)
    local touched, found = {}, false
    for n = 1, limits do
      local policy, key = policy_of[n], key_of[n]
      local role = roles[policy]
      local price = ((role == GUARD and 0 or cost) + slice) * factors[policy]
      if role == BEYOND and idle_of[n] then price = 0 end
      local instead, held, live = false, false, false
      if operation ~= CONSUME then instead, held, live = take(n, operation, name, life, price) end
      found = found or live
      if price > 0 and not instead then
        consume(n, price)
        changed_of[n] = true
      end
      if changed_of[n] and kinds[policy] == LOG then
        touched[key] = true
      elseif changed_of[n] and kinds[policy] ~= CONCURRENCY then
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

  -- Whether the older moments of a log matter to the caller: it has no unit left, or the check took nothing from it, so
  -- that moments that have left are still in it.
  local function logs_matter(limits)
    for n = 1, limits do
      local policy = policy_of[n]
      if kinds[policy] == LOG and (roles[policy] == BEYOND and idle_of[n] or not fits(n, 1)) then return true end
    end
  end

  -- Raises the count of a fixed window to the known minimum.
  local function raise(n, start, least)
    local kind = kinds[policy_of[n]]
    if (kind == EVERY or kind == CALENDAR) and a_of[n] == start and least > b_of[n] then
      b_of[n], changed_of[n] = least, true
    end
  end

  -- A plain check by the rules for all: the value has other cells or none, the clock stepped back, or a period is over.
  local function decide_plain(key, shape, floored, from, least)
    load(key)
    for n = 1, shape.limits do
      if kinds[shape[n]] == 0 then
        push('\2')
        return
      end
      roll(n, key, shape[n])
    end
    if floored then raise(floored, from, least) end
    local allowed = decide(shape.limits, shape.cost, 0)
    write(shape.limits, allowed and shape.cost or 0, 0, CONSUME)
    push(allowed and '\1' or '\0')
    -- All its limits are windows, so the reply leaves out the logs.
    push(logs[key] and '\2' .. heads[key] or values[key])
    finish(key)
    states[key], holds[key], logs[key] = nil, nil, nil
  end

  -- All checks that are not plain.
  local function decide_others()
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
          raise(base + limit, start, least)
        end
      end
      for _ = 1, returns do
        local amount, moment = unpack_from('<dd', checks, at)
        at = at + 16
        -- A limit beyond another comes first: what was given back is in the other's count until then.
        for n = limits, 1, -1 do give(n, amount, moment) end
      end
      if stale then
        push('\2')
      else
        local allowed = true
        if operation == SETTLE or operation == RENEW then
          decide(limits, cost, 0) -- for `idle_of`: nothing refuses here
          local found = write(limits, operation == SETTLE and cost or 0, 0, operation, name, life)
          push(found and '\1' or '\0')
        else
          local spare
          allowed, spare = decide(limits, cost, slice)
          allowed = allowed and room
          if not allowed or cost == 0 or spare < 0 then spare = 0 end
          push(spare > 0 and '\3' .. pack('<d', spare) or allowed and '\1' or '\0')
          write(limits, allowed and cost or 0, spare, allowed and operation or CONSUME, name, life)
        end
        local whole_logs = cost == 0 or not allowed or logs_matter(limits)
        for part = 1, parts do
          local key = keys[part]
          if logs[key] and not whole_logs and not holds[key] then
            push(log_rules().brief(heads[key], logs[key]))
          else
            push(finish(key))
          end
        end
      end
    end
    for key in pairs(unwritten) do finish(key) end
  end

  return decide_plain, decide_others
end
