-- The rules of logs, created only when there is a log. A log has its limit's id; `last`, when its last unit leaves; its
-- units; and the number of its moments. The moments, of eight bytes each, stay where they were read, from `first` to
-- `finish` of `body`; newer ones are in `tail`. So a long log is joined only once, when it is written, because Redis
-- hashes every byte of every string that a script makes.
local made_log_rules
local function log_rules()
  if made_log_rules then return made_log_rules end
  local R = {}
  made_log_rules = R

  -- A moment and its units as one number of 64 bits, the units in the lowest ten.
  local function pack_moment(at, units) return pack('<II', at % 4194304 * 1024 + units, floor(at / 4194304)) end

  local function unpack_moment(text, at)
    local low, high = unpack_from('<II', text, at)
    local units = low % 1024
    return high * 4194304 + (low - units) / 1024, units
  end

  -- Whether a value contains only logs from a place on.
  function R.are_logs(value, at)
    local count = byte(value, at)
    at = at + 1
    for _ = 1, count or 0 do
      local low, high = byte(value, at + 20, at + 21)
      if not high then return false end
      at = at + 22 + 8 * (low + 256 * high)
    end
    return count and at == #value + 1
  end

  function R.load(value, at)
    local found = {}
    for n = 1, byte(value, at) do
      local id, last, units, moments = unpack_from('<ddIH', value, at + 1)
      local first, finish = at + 23, at + 22 + 8 * moments
      found[n] = {id = id, last = last, units = units, moments = moments, body = value, first = first, finish = finish, tail = ''}
      at = finish
    end
    return found
  end

  local function flatten(log)
    log.body, log.tail = sub(log.body, log.first, log.finish) .. log.tail, ''
    log.first, log.finish, log.moments = 1, #log.body, #log.body / 8
  end

  local function newest(log)
    if log.tail ~= '' then return unpack_moment(log.tail, #log.tail - 7) end
    return unpack_moment(log.body, log.finish - 7)
  end

  -- Drops the oldest moments; `units` are left.
  local function drop(log, dropped, units)
    log.units, log.first, log.moments = units, log.first + 8 * dropped, log.moments - dropped
    if log.first > log.finish + 1 then
      log.body, log.first, log.finish, log.tail = log.tail, log.first - log.finish, #log.tail, ''
    end
  end

  -- Rolls a log: returns the moment that the rule uses, the units still in the window, the number of moments that have
  -- left, and whether the log was moved because the clock stepped back.
  function R.roll(log, window)
    local latest = newest(log)
    local left_until, units, dropped = max(latest, now) - window, log.units, 0
    while dropped < log.moments do
      local at, some, moment = log.first + 8 * dropped, nil, nil
      if at < log.finish then
        moment, some = unpack_moment(log.body, at)
      else
        moment, some = unpack_moment(log.tail, at - log.finish)
      end
      if moment > left_until then break end
      units, dropped = units - some, dropped + 1
    end
    if latest - now <= window then return max(latest, now), units, dropped, false end
    drop(log, dropped, units)
    flatten(log)
    local moved = {}
    for at = 1, #log.body, 8 do
      local moment, units = unpack_moment(log.body, at)
      moved[#moved + 1] = pack_moment(max(moment - latest + now, 0), units)
    end
    log.body, log.last = concat(moved), now + window
    return now, units, 0, true
  end

  -- Finds or begins a log in a list. Dead logs go, and the one that ends first when there are too many.
  function R.to_write(list, id)
    local kept, first, found = {}, nil, nil
    for _, log in ipairs(list) do
      if log.id == id then found = log end
      if log.last > now or log.id == id then
        kept[#kept + 1] = log
        if not first or log.last < kept[first].last then first = #kept end
      end
    end
    if found then return found, kept end
    if #kept >= MAX_CELLS then table.remove(kept, first) end
    found = {id = id, last = now, units = 0, moments = 0, body = '', first = 1, finish = 0, tail = ''}
    kept[#kept + 1] = found
    return found, kept
  end

  -- Adds units to a rolled log, at its newest moment or after it. Returns the units that it has then.
  function R.consume(log, at, units_left, dropped, price, window)
    drop(log, dropped, units_left)
    local added = min(price, MAX_UNITS)
    local latest, units
    if log.moments > 0 then latest, units = newest(log) end
    if latest == at then
      added = min(units + added, MAX_UNITS)
      log.units, log.moments = log.units - units, log.moments - 1
      if log.tail ~= '' then log.tail = sub(log.tail, 1, -9) else log.finish = log.finish - 8 end
    end
    log.tail = log.tail .. pack_moment(at, added)
    log.units, log.moments, log.last = log.units + added, log.moments + 1, at + window
    if log.moments > MAX_UNITS then
      flatten(log)
      local _, oldest = unpack_moment(log.body, 1)
      local moment, next = unpack_moment(log.body, 9)
      local both = min(oldest + next, MAX_UNITS)
      log.body, log.units = pack_moment(moment, both) .. sub(log.body, 17), log.units - oldest - next + both
      log.finish, log.moments = #log.body, log.moments - 1
    end
    return log.units
  end

  -- Takes away units of a rolled log: those of a moment or, if the clock stepped back then, of the next one; then
  -- earlier ones, then later ones. Returns the units that are left.
  function R.give(log, units_left, dropped, amount, moment, window)
    drop(log, dropped, units_left)
    flatten(log)
    local moments, units, kept = {}, {}, {}
    for at = 1, #log.body, 8 do
      local next = #moments + 1
      moments[next], units[next] = unpack_moment(log.body, at)
    end
    local first = 1
    while first < #moments and moments[first] < moment do first = first + 1 end
    local function take(at)
      local taken = min(amount, units[at])
      units[at], amount, log.units = units[at] - taken, amount - taken, log.units - taken
    end
    for at = min(first, #moments), 1, -1 do take(at) end
    for at = first + 1, #moments do take(at) end
    for at = 1, #moments do
      if units[at] > 0 then
        kept[#kept + 1] = pack_moment(moments[at], units[at])
        log.last = moments[at] + window
      end
    end
    log.body = concat(kept)
    log.first, log.finish, log.moments = 1, #log.body, #kept
    return log.units
  end

  local function header(log)
    return pack('<ddIH', log.id, log.last, log.units, log.moments)
  end

  -- A value made of the part before its logs, and these logs.
  function R.pack(head, list)
    local packed = {'\3', head, char(#list)}
    for _, log in ipairs(list) do
      local n = #packed
      packed[n + 1], packed[n + 2], packed[n + 3] = header(log), sub(log.body, log.first, log.finish), log.tail
    end
    return concat(packed)
  end

  -- The same with only the newest moment of each log.
  function R.brief(head, list)
    local packed = {'\3', head, char(#list)}
    for _, log in ipairs(list) do
      packed[#packed + 1] = pack('<ddIH', log.id, log.last, log.units, 1) .. pack_moment(newest(log))
    end
    return concat(packed)
  end

  return R
end
