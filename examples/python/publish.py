import json
import os

import redis

r = redis.Redis(port=int(os.environ.get("REDIS_PORT", 6379)))
r.publish("blogpost", json.dumps({"title": "Knock, knock — ¿quién es?", "by": "python", "url": "/posts/1?a=1&b=<2>"}))
# Durable, on a channel with history: recorded, resumable, and the answer is its position.
print(r.fcall("aldaba_publish", 1, "user:anna", json.dumps({"title": "Invoice", "by": "python"})).decode())
