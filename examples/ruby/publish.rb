require "json"
require "redis"

r = Redis.new(port: ENV.fetch("REDIS_PORT", 6379).to_i)
r.publish("blogpost", JSON.generate({ title: "Knock, knock — ¿quién es?", by: "ruby", url: "/posts/1?a=1&b=<2>" }))
