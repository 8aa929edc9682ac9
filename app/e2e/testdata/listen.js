// The JavaScript client against real replicas. It is given sessions on standard
// input, [{name, url, token, subscribe: [channel…]}], connects them all in one
// kind of runtime, and prints one JSON line for everything that happens:
// {"name": …, "joined": channel} or {"name": …, "message": "channel data"}.
// It ends when standard input does.
//
//   node listen.js node            in Node, with the ws package
//   node listen.js chromium URL    in Chromium, on a page at URL for each session

import { createInterface } from 'node:readline';
import { chromium } from '../../../frontend/node_modules/playwright-core/index.mjs';
import WebSocket from '../../../frontend/node_modules/ws/wrapper.mjs';
import { findChromium } from '../../../frontend/test-support/chromium.js';
import { connect } from '../../../frontend/client/aldaba.js';

const [kind, page] = process.argv.slice(2);
const say = (/** @type {object} */ line) => console.log(JSON.stringify(line));

/** Runs in Node, and serialized in a page; so everything it needs comes in as arguments. */
function listen(connect, say, { name, url, token, subscribe }, WebSocket) {
  const client = connect({ url, getToken: () => token, WebSocket });
  client.onJoined((channel) => say({ name, joined: channel }));
  client.onMessage(({ channel, data }) => say({ name, message: `${channel} ${JSON.stringify(data)}` }));
  for (const channel of subscribe ?? []) {
    client.subscribe(channel).catch((error) => say({ name, refused: channel, code: error.code }));
  }
  return client;
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const sessions = JSON.parse((await lines.next()).value);
/** @type {() => unknown} */
let end;

if (kind === 'node') {
  const clients = sessions.map((session) => listen(connect, say, session, WebSocket));
  end = () => clients.map((client) => client.close());
} else {
  const browser = await chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox', '--disable-gpu'] });
  for (const session of sessions) {
    const tab = await (await browser.newContext()).newPage();
    tab.on('pageerror', (error) => say({ name: session.name, error: error.message }));
    await tab.exposeFunction('say', say);
    await tab.goto(page);
    await tab.evaluate(`import('/aldaba.js').then(({ connect }) => { (${listen})(connect, say, ${JSON.stringify(session)}); })`);
  }
  end = () => browser.close();
}

await lines.next();
await end();
