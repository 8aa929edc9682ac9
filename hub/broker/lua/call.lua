-- The hub's own call. KEYS: the name. ARGV: data, then names and values of options.
-- Answer: as publish.
local o = {}
for i = 2, #ARGV, 2 do o[ARGV[i]] = ARGV[i + 1] end
for _, number in ipairs({ 'size', 'ttl', 'seq', 'memory' }) do o[number] = tonumber(o[number]) end
local position, told, again = publish(KEYS[1], ARGV[1], o)
if type(position) == 'table' then return position end
return { position, told, again }
