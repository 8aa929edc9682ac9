-- What publishers call: FCALL aldaba_publish 1 CHANNEL JSON [key KEY]. The hubs put one
-- line above for each prefix: which channels keep how much.

-- history returns size and ttl of a channel, nothing if it keeps none.
local function history(name)
  local best
  for i, p in ipairs(policies) do
    if type(p) == 'string' then -- nothing can be decoded while the library is loaded
      p = cjson.decode(p)
      policies[i] = p
    end
    if string.sub(name, 1, #p.prefix) == p.prefix and (not best or #p.prefix > #best.prefix) then best = p end
  end
  for _, h in ipairs(best and best.histories or {}) do
    if string.match(string.sub(name, #best.prefix + 1), h.pattern) then return h.size, h.ttl, best.limit end
  end
  return nil, nil, best and best.limit
end

local function document(data)
  local ok, value = pcall(cjson.decode, data)
  return ok and value ~= nil or string.match(data, '^%s*null%s*$') -- the embedded Redis decodes both to nil
end

local function fault(name, data, limit)
  if #name > 320 or not string.match(name, '^[%w_.:@#/|+=~%%-]+$') or string.sub(name, 1, 7) == 'aldaba:' then
    return 'ERR not the name of a channel'
  elseif limit and #data > limit then
    return 'ERR a message has at most ' .. whole(limit) .. ' bytes'
  elseif not document(data) then
    return 'ERR a message is one JSON document'
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
  for i, name in ipairs(keys) do
    local _, _, limit = history(name)
    wrong = fault(name, args[i], limit)
    if wrong then return redis.error_reply(wrong) end
  end
  local positions = {}
  for i, name in ipairs(keys) do
    local size, ttl = history(name)
    positions[i] = publish(name, args[i], { id = o.id, size = size, ttl = ttl })
  end
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
