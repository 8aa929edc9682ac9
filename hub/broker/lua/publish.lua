-- Publishing, in one atomic step. The same text serves as a script of the hub's and
-- as the library that publishers call; see docs/publishing.md for what they may rely on.
--
-- A channel that keeps history has, beside its name N (prefix included):
--   aldaba:meta:{N}  hash: epoch, last (newest entry's id), server, seal, kept,
--                    rec (what the recorder recorded last), r:USER (read up to)
--   aldaba:log:{N}   stream of entries OFFSET-TAG with the field d; offsets have no gap,
--                    TAG is the time of recording in microseconds since 1970
--   aldaba:live:{N}  where each entry is announced, see `announce`

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function whole(n) return string.format('%d', n) end

local function offset(id) return tonumber(string.match(id, '^%d+')) end

-- announce tells the replicas: format, id, epoch, seal (which only they know), origin
-- (p: recorded from a plain PUBLISH, d: published through here), data.
local function announce(name, id, epoch, seal, origin, data)
  return redis.call('PUBLISH', 'aldaba:live:{' .. name .. '}',
    '1 ' .. id .. ' ' .. epoch .. ' ' .. seal .. ' ' .. origin .. ' ' .. data)
end

-- stay puts off the end of what a channel has beside its log: whoever stands at the
-- newest entry can still prove it when that has gone. Where somebody listens it is read
-- every 25 seconds at least, and must not end between two readings, however short ttl is.
local function stay(meta, ttl)
  redis.call('PEXPIRE', meta, whole(math.max(2 * ttl, 60000) + ttl / 16))
end

-- keep puts off the end of all that a channel has, now and then: it is exact to a
-- sixteenth of ttl. The log ends ttl after its newest entry. One of a single entry may
-- have been made anew, after it was lost alone, and has no end then. (A publisher may
-- lack the right to XLEN: what is written by now must not fail for that.)
local function keep(meta, log, kept, time, ttl)
  if kept and time - tonumber(kept) < ttl * 1000 / 16 and redis.pcall('XLEN', log) ~= 1 then return end
  redis.call('PEXPIRE', log, whole(ttl + ttl / 16))
  stay(meta, ttl)
  redis.call('HSET', meta, 'kept', whole(time))
end

-- record appends data to the log of a channel. o.size: entries that may follow a
-- position, o.ttl: milliseconds, o.by and o.seq: the recorder's count, o.origin.
local function record(name, data, o)
  local meta, log = 'aldaba:meta:{' .. name .. '}', 'aldaba:log:{' .. name .. '}'
  local m = redis.call('HMGET', meta, 'epoch', 'last', 'seal', 'kept', 'rec')
  local epoch, last, seal, kept, rec = m[1], m[2], m[3] or '-', m[4], m[5]
  if o.seq and rec then
    local by, seq = string.match(rec, '^(%S+) (%d+)$')
    if by == o.by and tonumber(seq) >= o.seq then return epoch .. ':' .. last, 0, 1 end
  end
  local time = now()
  if not epoch then -- new, or lost: what is left of the log belongs to no epoch
    redis.call('DEL', log)
    epoch, last, kept = whole(time), '0-0', nil
    redis.call('HSET', meta, 'epoch', epoch)
  end
  local id = string.format('%d-%d', offset(last) + 1, time)
  -- One more than size: the entry on which the farthest client stands.
  redis.call('XADD', log, 'MAXLEN', '=', o.size + 1, id, 'd', data)
  if o.seq then
    redis.call('HSET', meta, 'last', id, 'rec', o.by .. ' ' .. whole(o.seq))
  else
    redis.call('HSET', meta, 'last', id)
  end
  keep(meta, log, kept, time, o.ttl)
  return epoch .. ':' .. id, announce(name, id, epoch, seal, o.origin or 'd', data), 0
end

-- publish returns the position (empty without history), how many connections were
-- told, and 1 if this had been published before. o.id: idempotency key, o.memory: for
-- how many milliseconds it is remembered. o.lease and o.gen: a lease, and who must hold it.
local function publish(name, data, o)
  if o.lease and redis.call('GET', o.lease) ~= o.gen then
    return redis.error_reply('FENCED another replica records now')
  end
  local sent
  if o.id then
    sent = 'aldaba:sent:{' .. name .. '}:' .. o.id
    local before = redis.call('GET', sent)
    if before then return before, 0, 1 end
  end
  local position, told, again
  if o.size then
    position, told, again = record(name, data, o)
  else
    position, told, again = '', redis.call('PUBLISH', name, data), 0
  end
  if sent then redis.call('SET', sent, position, 'PX', whole(o.memory or 86400000)) end
  return position, told, again
end
