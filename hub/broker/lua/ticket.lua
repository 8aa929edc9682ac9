-- What a ticket stands for, once. KEYS: its key. Answer: that, or an empty text.
local kept = redis.call('GET', KEYS[1])
if kept then redis.call('DEL', KEYS[1]) end
return { kept or '' }
