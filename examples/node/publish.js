import { createClient } from "redis";

const r = createClient({ url: `redis://127.0.0.1:${process.env.REDIS_PORT ?? 6379}` });
await r.connect();
await r.publish("blogpost", JSON.stringify({ title: "Knock, knock — ¿quién es?", by: "node", url: "/posts/1?a=1&b=<2>" }));
await r.close();
