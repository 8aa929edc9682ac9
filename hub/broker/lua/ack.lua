-- Noting how far a user has read. KEYS: the name. ARGV: user, epoch, id.
-- Answer: the id up to which the user has read, and how many entries follow it. It is an
-- error if that cannot be proved: the epoch is another, or the entry is not in the log, nor
-- the newest. (What was trimmed would change no count.)
local name, user = KEYS[1], ARGV[1]
local meta, log = 'aldaba:meta:{' .. name .. '}', 'aldaba:log:{' .. name .. '}'
local m = redis.call('HMGET', meta, 'epoch', 'last', 'seal', 'r:' .. user)
local id = ARGV[3]
local function proved() return id == m[2] or id == '0-0' or #redis.call('XRANGE', log, id, id) == 1 end
if m[1] ~= ARGV[2] or not proved() then return redis.error_reply('GONE no such position') end
local function unread(upto)
  return math.min(offset(m[2]) - offset(upto), redis.call('XLEN', log))
end
-- A position ahead of the newest entry is of entries that a fail-over has lost.
if m[4] and offset(m[4]) >= offset(id) and offset(m[4]) <= offset(m[2]) then return { m[4], unread(m[4]) } end
redis.call('HSET', meta, 'r:' .. user, id)
local left = unread(id)
-- Format, id, epoch, seal, entries that follow, user.
redis.call('PUBLISH', 'aldaba:live:{' .. name .. '}',
  table.concat({ 'r1', id, m[1], m[3] or '-', whole(left), user }, ' '))
return { id, left }
