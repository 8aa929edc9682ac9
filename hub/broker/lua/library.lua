-- What publishers call: FCALL aldaba_publish 1 CHANNEL JSON [key KEY]. The hubs put one
-- line above for each prefix: which channels keep how much.

-- policy returns that of the longest prefix that name has, and name without it: that is
-- its channel. Without any it returns nothing and name.
local function policy(name)
  local best
  for i, p in ipairs(policies) do
    if type(p) == 'string' then -- nothing can be decoded while the library is loaded
      p = cjson.decode(p)
      policies[i] = p
    end
    if string.sub(name, 1, #p.prefix) == p.prefix and (not best or #p.prefix > #best.prefix) then best = p end
  end
  return best, string.sub(name, best and #best.prefix + 1 or 1)
end

-- history returns what a channel keeps by its policy, nothing if that is nothing.
local function history(p, channel)
  for _, h in ipairs(p and p.histories or {}) do
    if string.match(channel, h.pattern) then return h end
  end
end

local json

-- paired has a question mark for each half of a surrogate pair: cjson takes none alone, and
-- JSON may have it (RFC 8259, section 8.2). Neither is taken outside of strings.
local function paired(data)
  data = string.gsub(data, '\\\\', '?') -- a backslash that is escaped escapes nothing
  return (string.gsub(data, '\\u[dD][89A-Fa-f]%x%x', '?'))
end

-- decodes says whether cjson takes data, with numbers as JSON has them and 128 levels at
-- most. It takes more than JSON is: see strict.
local function decodes(data)
  if not json then -- nothing can be called while the library is loaded
    json = cjson.new()
    json.decode_invalid_numbers(false)
    json.decode_max_depth(128)
  end
  local ok, value = pcall(json.decode, data)
  if not ok then ok, value = pcall(json.decode, paired(data)) end
  return ok and value ~= nil or string.match(data, '^%s*null%s*$') -- the embedded Redis decodes both to nil
end

-- utf8 says whether data is UTF-8 (RFC 3629, section 4).
local function utf8(data)
  local at = 1
  while true do
    at = string.match(data, '^[%z\1-\127]*()', at)
    if at > #data then return true end
    local a, b, c, d = string.byte(data, at, at + 3)
    local more = a >= 194 and a <= 223 and 1 or a >= 224 and a <= 239 and 2 or a >= 240 and a <= 244 and 3
    local low = a == 224 and 160 or a == 240 and 144 or 128
    local high = a == 237 and 159 or a == 244 and 143 or 191
    if not more or not b or b < low or b > high then return false end
    if more > 1 and not (c and c >= 128 and c <= 191) then return false end
    if more > 2 and not (d and d >= 128 and d <= 191) then return false end
    at = at + more + 1
  end
end

-- strict says whether what cjson takes for JSON is such as the hubs hand on: UTF-8, no
-- control characters in strings, nothing behind the end, and digits on both sides of a
-- point (RFC 8259). What they would drop must not be answered with a position.
-- 200 bytes take 1 us, 2 with a point in them, and each character beyond ASCII half of one
-- more.
local function strict(data)
  local ascii = string.find(data, '^[ -~]*$')
  if ascii and not string.find(data, '.', 1, true) then return true end
  local bare = data
  if string.find(data, '\\', 1, true) then bare = string.gsub(data, '\\.', '') end -- escapes occur in strings only
  if not ascii then
    if string.find(data, '%z') or not utf8(data) then return false end
    for text in string.gmatch(bare, '%b""') do
      if string.find(text, '[\1-\31]') then return false end
    end
  end
  bare = ' ' .. string.gsub(bare, '%b""', '') .. ' '
  return not string.find(bare, '%D%.') and not string.find(bare, '%.%D')
end

local function document(data) return decodes(data) and strict(data) end

-- valid says whether a channel may have that name: as the hubs do, who deliver no other.
local function valid(channel)
  return #channel <= 255 and string.match(channel, '^[%w_.:@#/|+=~%%-]+$') and string.sub(channel, 1, 7) ~= 'aldaba:'
end

local function fault(channel, data, limit)
  if not valid(channel) then
    return 'ERR not the name of a channel'
  elseif limit and #data > limit then
    return 'ERR a message has at most ' .. whole(limit) .. ' bytes'
  elseif not document(data) then
    return 'ERR a message is one JSON document, in UTF-8, nested at most 128 deep'
  end
end

-- options reads `key KEY` behind the first count arguments.
local function options(args, count)
  local o = {}
  for i = count + 1, #args, 2 do
    if args[i] ~= 'key' or not args[i + 1] or #args[i + 1] > 128 or not string.match(args[i + 1], '^[!-~]+$') then
      return nil, 'ERR the only option is key, followed by at most 128 printable characters'
    end
    o.id = args[i + 1]
  end
  return o
end

-- many publishes one message to each channel, or none if one is refused. It returns
-- their positions, empty ones where there is no history.
local function many(keys, args)
  if #keys == 0 or #args < #keys then
    return redis.error_reply('ERR want one message for each channel')
  end
  local o, wrong = options(args, #keys)
  if wrong then return redis.error_reply(wrong) end
  local kept = {}
  for i, name in ipairs(keys) do
    local p, channel = policy(name)
    wrong = fault(channel, args[i], p and p.limit)
    if wrong then return redis.error_reply(wrong) end
    local h = history(p, channel) or {}
    kept[i] = { id = o.id, size = h.size, ttl = h.ttl }
  end
  local positions = {}
  for i, name in ipairs(keys) do positions[i] = publish(name, args[i], kept[i]) end
  return positions
end

local function one(keys, args)
  if #keys ~= 1 then return redis.error_reply('ERR want one channel: FCALL aldaba_publish 1 CHANNEL JSON') end
  local positions = many(keys, args)
  if positions.err then return positions end
  return positions[1]
end

redis.register_function('aldaba_publish', one)
redis.register_function('aldaba_publish_many', many)
