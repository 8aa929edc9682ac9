-- Publishing and, in the same step, asking all replicas to how many sessions they handed
-- it: what they hear next after the message is the question. KEYS: the name. ARGV: the
-- channel of questions, the question's id, where to answer, data, then names and values of
-- options. Answer: as publish, and how many replicas were asked.
local o = {}
for i = 5, #ARGV, 2 do o[ARGV[i]] = ARGV[i + 1] end
for _, number in ipairs({ 'size', 'ttl' }) do o[number] = tonumber(o[number]) end
local position, told, again = publish(KEYS[1], ARGV[4], o)
if type(position) == 'table' then return position end
if again == 1 then return { position, told, again, 0 } end
-- A PUBLISH counts patterns, too, which others listen to.
local listening = redis.pcall('PUBSUB', 'NUMSUB', ARGV[1])
local asked = redis.call('PUBLISH', ARGV[1],
  table.concat({ ARGV[2], ARGV[3], KEYS[1], position == '' and '-' or position }, ' '))
if not listening.err then asked = tonumber(listening[2]) end
return { position, told, again, asked }
