import { createClient } from "redis";

const r = createClient({ url: `redis://127.0.0.1:${process.env.REDIS_PORT ?? 6379}` });
await r.connect();
await r.publish("blogpost", JSON.stringify({ title: "Knock, knock — ¿quién es?", by: "node", url: "/posts/1?a=1&b=<2>" }));
// Durable, on a channel with history: recorded, resumable, and the answer is its position.
const invoice = JSON.stringify({ title: "Invoice", by: "node" });
console.log(await r.fCall("aldaba_publish", { keys: ["user:anna"], arguments: [invoice] }));
await r.close();
