require "json"
require "redis"

r = Redis.new(port: ENV.fetch("REDIS_PORT", 6379).to_i)
r.publish("blogpost", JSON.generate({ title: "Knock, knock — ¿quién es?", by: "ruby", url: "/posts/1?a=1&b=<2>" }))
# Durable, on a channel with history: recorded, resumable, and the answer is its position.
puts r.call("FCALL", "aldaba_publish", 1, "user:anna", JSON.generate({ title: "Invoice", by: "ruby" }))
