-- Reading what a channel keeps. KEYS: the name. ARGV: 'after' or 'before', the id from
-- which (empty: none), entries and bytes at most, a seal if there is none yet, ttl in
-- milliseconds, a user (empty: none), and of whom a delivery is under way the epoch of that
-- id (else empty): he is told what is newer even if the id is not known.
-- Answer: epoch, last id, seal, 1 if the id from which is known, 1 if there is more,
-- entries kept, id up to which the user has read (or ''), the id behind which the entries
-- begin, and id and data of each entry, oldest first.

-- server names the Redis that has this log, and changes when it starts anew or when
-- another takes over: with asynchronous replication one offset may then stand for two
-- messages.
local function server()
  local info = redis.pcall('INFO', 'replication')
  if type(info) ~= 'string' then return '' end
  return string.match(info, 'master_replid:(%x+)') or ''
end

-- state returns epoch, last, seal; it makes what is missing.
local function state(meta, log, user, seal, ttl)
  local m = redis.call('HMGET', meta, 'epoch', 'last', 'seal', 'server', 'r:' .. user)
  local epoch, last, had, read = m[1], m[2], m[3], m[5] or ''
  local here = server()
  if not epoch then
    redis.call('DEL', log)
    epoch, last, read = whole(now()), '0-0', ''
    redis.call('HSET', meta, 'epoch', epoch, 'last', last, 'server', here)
  elseif not m[4] then -- made by a publisher
    redis.call('HSET', meta, 'server', here)
  elseif m[4] ~= here then
    epoch = whole(now())
    redis.call('HSET', meta, 'epoch', epoch, 'server', here)
  end
  if not had then
    had = seal
    redis.call('HSET', meta, 'seal', seal)
  end
  if read ~= '' and offset(read) > offset(last) then -- of entries that a fail-over has lost
    read = last
    redis.call('HSET', meta, 'r:' .. user, read)
  end
  stay(meta, ttl)
  return epoch, last, had, read
end

-- known says whether nothing that follows id can be missing.
local function known(log, id, last)
  if id == last then return true end
  if id == '0-0' then
    local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)
    return first[1] ~= nil and offset(first[1][1]) == 1
  end
  return #redis.call('XRANGE', log, id, id) == 1
end

local function tag(id) return tonumber(string.match(id, '%d+$')) end

-- follows says whether nothing can be missing between id, of the same epoch, and the log.
local function follows(log, id, last)
  if known(log, id, last) then return true end
  local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)
  return first[1] ~= nil and offset(first[1][1]) == offset(id) + 1
end

-- behind returns the id behind which all entries are newer than id, of that epoch, so that
-- whoever was delivered up to id has none of them. Without that entry it is the tags that
-- tell: they rise with time.
local function behind(log, id, epoch, last)
  if #redis.call('XRANGE', log, id, id) == 1 then return id end
  local old = offset(id) > 0 and tag(id) or (tonumber(epoch) or 0) - 1
  local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  if not first then return last end
  if tag(first[1]) > old then
    local before = offset(first[1]) - 1
    return whole(before) .. '-' .. whole(before > 0 and old or 0)
  end
  local found, low, high = first[1], offset(first[1]), offset(last)
  while low < high do -- found is at low, and not newer
    local middle = math.ceil((low + high) / 2)
    local entry = redis.call('XRANGE', log, whole(middle), '+', 'COUNT', 1)[1]
    if entry and tag(entry[1]) <= old then
      found, low = entry[1], offset(entry[1])
    else
      high = middle - 1
    end
  end
  return found
end

-- page takes entries, which are in the order of reading, up to bytes, one at least.
local function page(answer, entries, limit, bytes, backwards)
  local taken, size = 0, 0
  for i, e in ipairs(entries) do
    if i > limit or (i > 1 and size + #e[2][2] > bytes) then break end
    taken, size = i, size + #e[2][2]
  end
  answer[5] = taken < #entries and 1 or 0
  local first, final, step = 1, taken, 1
  if backwards then first, final, step = taken, 1, -1 end
  for i = first, final, step do
    answer[#answer + 1] = entries[i][1]
    answer[#answer + 1] = entries[i][2][2]
  end
  return answer
end

local function read(name, direction, from, limit, bytes, seal, ttl, user, followed)
  local meta, log = 'aldaba:meta:{' .. name .. '}', 'aldaba:log:{' .. name .. '}'
  local epoch, last, had, upto = state(meta, log, user, seal, ttl)
  local stands, begin = from ~= '' and known(log, from, last), from
  if followed ~= '' then
    stands = followed == epoch and follows(log, from, last)
    if not stands then begin = behind(log, from, followed, last) end
  end
  local kept = (user ~= '' or limit == 0) and redis.call('XLEN', log) or 0
  local answer = { epoch, last, had, stands and 1 or 0, 0, kept, upto, begin }
  if limit == 0 or (from ~= '' and not stands and followed == '') then return answer end
  local count = limit + 1
  if direction == 'before' then
    local newest = from == '' and '+' or whole(offset(from) - 1)
    if newest == '-1' then return answer end
    return page(answer, redis.call('XREVRANGE', log, newest, '-', 'COUNT', count), limit, bytes, true)
  end
  if begin == last then return answer end
  local oldest = begin == '' and '-' or whole(offset(begin) + 1)
  return page(answer, redis.call('XRANGE', log, oldest, '+', 'COUNT', count), limit, bytes, false)
end

return read(KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8])
