import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heard, settled, startClient, startHub, stopTheClock, until } from './hub.js';

const NEARLY_ONE = 0.999999;

/** A hub, a client that is welcomed, and a clock that stands still; random numbers are as high as they get. */
async function openClient(t, options) {
  const tick = stopTheClock(t);
  const random = t.mock.method(Math, 'random', () => NEARLY_ONE);
  const hub = await startHub(t);
  const started = startClient(t, hub, options);
  const connection = await hub.connection();
  connection.welcome('user:42');
  await until(started.client, 'open');
  return { tick, random, hub, connection, ...started };
}

/** Closes the connection and says what the client makes of it. */
async function closeWith(t, code) {
  const context = await openClient(t);
  const { client, connection } = context;
  const end = new Promise((resolve) => {
    client.onState((state, info) => state !== 'open' && resolve({ state, ...info }));
  });
  if (code === 1006) connection.socket.terminate();
  else connection.socket.close(code, 'why');
  return { ...context, end: await end };
}

// The close codes of docs/protocol.md

for (const code of [1000, 1001, 1006, 1008, 1011, 3000, 4000, 4001, 4002, 4003, 4099, 4399, 4500]) {
  test(`closed with ${code}: comes back after a back-off, with a fresh token`, async (t) => {
    const { tick, hub, end, asked } = await closeWith(t, code);
    assert.equal(end.state, 'waiting');
    assert.equal(end.code, code);
    assert.equal(end.reason, code === 1006 ? '' : 'why');
    assert.equal(asked.count, 1);
    tick(5000);
    assert.equal((await hub.connection()).token, 't2');
  });
}

for (const code of [1002, 1003, 1007, 1009, 4400, 4403, 4408, 4429, 4499]) {
  test(`closed with ${code}: stays away, until told to come back`, async (t) => {
    const { tick, hub, client, end, asked } = await closeWith(t, code);
    assert.deepEqual(end, { state: 'closed', code, reason: 'why' });
    tick(600_000);
    await settled();
    assert.equal(asked.count, 1);
    client.reconnect();
    (await hub.connection()).welcome('user:42');
    await until(client, 'open');
  });
}

test('closed with 4401: comes back once with a fresh token, and stays away when refused again', async (t) => {
  const { tick, hub, client, end, asked } = await closeWith(t, 4401);
  assert.equal(end.state, 'waiting');
  tick(1000);
  const second = await hub.connection();
  assert.equal(second.token, 't2');
  second.socket.close(4401, 'revoked');
  assert.deepEqual(await until(client, 'closed'), { code: 4401, reason: 'revoked' });
  tick(600_000);
  assert.equal(asked.count, 2);
});

test('closed with 4401: a session that was stable in between counts anew', async (t) => {
  const { tick, hub, client } = await closeWith(t, 4401);
  tick(1000);
  const second = await hub.connection();
  second.welcome();
  await until(client, 'open');
  tick(5000);
  second.socket.close(4401);
  await until(client, 'waiting');
});

test('closed with 4401: the same token again is not even tried', async (t) => {
  const { tick, client, connection } = await openClient(t, { getToken: () => 'same' });
  connection.socket.close(4401);
  await until(client, 'waiting');
  tick(1000);
  const { code, reason } = await until(client, 'closed');
  assert.equal(code, 4401);
  assert.match(reason, /same token again/);
});

test('closed with 4401 in cookie mode: comes back once, the cookie may be fresh', async (t) => {
  const { tick, hub, client, connection } = await openClient(t, { getToken: undefined });
  connection.socket.close(4401);
  await until(client, 'waiting');
  tick(1000);
  (await hub.connection()).socket.close(4401);
  await until(client, 'closed');
});

// Back-off

test('the back-off starts below a second, doubles, ends at 30 seconds, and resets only after a stable session', async (t) => {
  const { tick, hub, client, connection } = await openClient(t);
  const waits = [];
  let last = connection;
  const drop = async () => {
    const waiting = until(client, 'waiting');
    last.socket.terminate();
    const { retryAt } = await waiting;
    waits.push(Math.round((retryAt - Date.now()) / 1000));
    tick(retryAt - Date.now());
    last = await hub.connection();
  };
  await drop();
  last.welcome();
  await until(client, 'open');
  tick(4999); // welcomed, but not for long enough
  for (let i = 0; i < 6; i++) await drop();
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 30, 30]);
  last.welcome();
  await until(client, 'open');
  tick(5000);
  await drop();
  assert.equal(waits.at(-1), 1);
});

test('the jitter is full: no wait at all is possible, and a second is not', async (t) => {
  const { random, client, connection } = await openClient(t);
  random.mock.mockImplementation(() => 0);
  connection.socket.terminate();
  assert.equal((await until(client, 'waiting')).retryAt, Date.now());
});

test('the first attempt after 4001 is spread over some seconds', async (t) => {
  const { end } = await closeWith(t, 4001);
  assert.equal(Math.round((end.retryAt - Date.now()) / 1000), 5);
});

test('a refused upgrade counts as failed, and each attempt asks for a fresh token', async (t) => {
  const tick = stopTheClock(t);
  t.mock.method(Math, 'random', () => NEARLY_ONE);
  const hub = await startHub(t);
  hub.refuse.push(401, 403, 429, 503);
  const { client } = startClient(t, hub, { sse: false });
  for (const wait of [1000, 2000, 4000, 8000]) {
    const { retryAt } = await until(client, 'waiting');
    assert.equal(retryAt - Date.now(), wait - 1);
    tick(wait - 1);
    await settled();
  }
  assert.equal((await hub.connection()).token, 't5');
});

test('nobody listening: waits and tries again', async (t) => {
  const { client } = startClient(t, { url: 'ws://127.0.0.1:1/ws' });
  assert.equal((await until(client, 'waiting')).code, 1006);
});

test('no welcome within 15 seconds: the attempt has failed', async (t) => {
  const tick = stopTheClock(t);
  const hub = await startHub(t);
  const { client } = startClient(t, hub);
  const connection = await hub.connection();
  tick(14_999);
  assert.equal(client.state, 'connecting');
  tick(1);
  assert.equal(client.state, 'waiting');
  await connection.closed();
});

test('a WebSocket that cannot be made is reported and tried again', async (t) => {
  class WebSocket {
    constructor() {
      throw new Error('mixed content');
    }
  }
  const { client, error } = startClient(t, { url: 'ws://127.0.0.1:1/ws' }, { WebSocket });
  assert.equal((await error()).message, 'mixed content');
  assert.equal(client.state, 'waiting');
});

// getToken

test('getToken that fails is asked again, later', async (t) => {
  const tick = stopTheClock(t);
  t.mock.method(Math, 'random', () => NEARLY_ONE);
  const hub = await startHub(t);
  let count = 0;
  const getToken = async () => {
    if (++count < 3) throw new Error('login server is away');
    return 'fresh';
  };
  const { client, error } = startClient(t, hub, { getToken });
  await until(client, 'waiting');
  assert.equal((await error()).message, 'login server is away');
  tick(1000);
  await until(client, 'waiting');
  tick(2000);
  assert.equal((await hub.connection()).token, 'fresh');
});

test('a fatal error of getToken ends it', async (t) => {
  const getToken = () => {
    throw Object.assign(new Error('logged out'), { fatal: true });
  };
  const { client } = startClient(t, { url: 'ws://127.0.0.1:1/ws' }, { getToken });
  assert.deepEqual(await until(client, 'closed'), { code: 4401, reason: 'logged out' });
});

test('what is not a token never travels', async (t) => {
  for (const token of [undefined, null, '', '<html>', 'two words', 'a, b', { token: 'x' }]) {
    const { client, error } = startClient(t, { url: 'ws://127.0.0.1:1/ws' }, { getToken: () => token });
    assert.equal((await error()).code, 'bad_token');
    assert.equal(client.state, 'waiting');
    client.close();
  }
});

test('a token that has expired is reported when the hub refuses it', async (t) => {
  const jwt = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.x`;
  const seconds = Math.floor(Date.now() / 1000);
  for (const [token, code] of [
    [jwt({ exp: seconds - 3600 }), 'bad_token'],
    [jwt({ exp: seconds + 3600 }), undefined],
    ['opaque', undefined],
  ]) {
    const { client, error, errors } = startClient(
      t,
      { url: 'ws://127.0.0.1:1/ws' },
      { getToken: () => token },
    );
    await until(client, 'waiting');
    assert.equal(errors.length, code ? 1 : 0);
    if (code) assert.equal((await error()).code, code);
    client.close();
  }
});

test('getToken that never answers has failed after 15 seconds', async (t) => {
  const tick = stopTheClock(t);
  const { client, error } = startClient(
    t,
    { url: 'ws://127.0.0.1:1/ws' },
    { getToken: () => new Promise(() => {}) },
  );
  tick(15_000);
  assert.equal((await error()).code, 'timeout');
  assert.equal(client.state, 'waiting');
});

// Refresh

test('expiring is answered with a fresh token', async (t) => {
  const { connection, tick, hub, client } = await openClient(t);
  connection.send({ type: 'expiring', expires_at: 1 });
  const { id, ...frame } = await connection.frame();
  assert.deepEqual(frame, { type: 'refresh', token: 't2' });
  connection.send({ type: 'refreshed', id, expires_at: 2 });
  await heard(client, connection);
  assert.equal(connection.unread, 0);
  // The refreshed token is the one that a 4401 then speaks of.
  connection.socket.close(4401);
  await until(client, 'waiting');
  tick(1000);
  assert.equal((await hub.connection()).token, 't3');
});

test('a refresh that is refused, or a getToken that fails meanwhile, is tried again until it works', async (t) => {
  const answers = ['t1', new Error('away'), 't1', 't2', 't3'];
  const getToken = () => {
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const { connection, tick, client, error } = await openClient(t, { getToken });
  connection.send({ type: 'expiring', expires_at: 1 });
  assert.equal((await error()).message, 'away');
  tick(500);
  assert.match((await error()).message, /same token again/);
  tick(1000);
  const refused = await connection.frame();
  assert.equal(refused.token, 't2');
  connection.send({ type: 'error', id: refused.id, code: 'unauthorized', message: 'no' });
  assert.equal((await error()).code, 'unauthorized');
  await settled();
  tick(2000);
  const { id, token } = await connection.frame();
  assert.equal(token, 't3');
  connection.send({ type: 'refreshed', id, expires_at: 2 });
  await heard(client, connection);
  tick(60_000);
  await settled();
  assert.deepEqual(answers, []);
});

test('tokens that live less than a minute are refreshed every few seconds, not in a storm', async (t) => {
  const { connection, tick, client } = await openClient(t);
  connection.send({ type: 'expiring', expires_at: 1 });
  const { id } = await connection.frame();
  connection.send({ type: 'refreshed', id, expires_at: 2 });
  connection.send({ type: 'expiring', expires_at: 2 });
  await heard(client, connection);
  tick(4999);
  await settled();
  assert.equal(connection.unread, 0);
  tick(1);
  assert.equal((await connection.frame()).token, 't3');
});

test('a fatal error of getToken ends the refreshing, not the session', async (t) => {
  let count = 0;
  const getToken = () => {
    if (count++) throw Object.assign(new Error('logged out'), { fatal: true });
    return 't1';
  };
  const { connection, client, tick, error } = await openClient(t, { getToken });
  connection.send({ type: 'expiring', expires_at: 1 });
  assert.equal((await error()).message, 'logged out');
  tick(20_000);
  assert.equal(count, 2);
  assert.equal(client.state, 'open');
});

test('expiring in cookie mode is left to the next connect', async (t) => {
  const { connection, client } = await openClient(t, { getToken: undefined });
  connection.send({ type: 'expiring', expires_at: 1 });
  await heard(client, connection);
  assert.equal(connection.unread, 0);
});

// A dead connection

test('after 25 seconds of silence it pings, and goes on when anything comes back', async (t) => {
  const { connection, tick, client } = await openClient(t);
  tick(20_000);
  connection.message('user:42', 1);
  await heard(client, connection);
  tick(24_999);
  await settled();
  assert.equal(connection.unread, 0);
  tick(1);
  assert.deepEqual(await connection.frame(), { type: 'ping' });
  connection.send({ type: 'pong' });
  await heard(client, connection);
  tick(10_000);
  assert.equal(client.state, 'open');
  tick(15_000);
  assert.deepEqual(await connection.frame(), { type: 'ping' });
});

test('ten seconds without an answer to the ping: the connection is dead, and replaced', async (t) => {
  const { connection, tick, hub, client } = await openClient(t);
  tick(25_000);
  await connection.frame();
  tick(9_999);
  assert.equal(client.state, 'open');
  tick(1);
  assert.equal(client.state, 'waiting');
  tick(1000);
  assert.equal((await hub.connection()).token, 't2');
});

/** A page that can be hidden and go online, for the length of a test. */
function fakePage(t) {
  const page = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.removeEventListener = page.removeEventListener.bind(page);
  globalThis.document = document;
  t.after(() => {
    for (const name of ['addEventListener', 'removeEventListener', 'document']) delete globalThis[name];
  });
  return {
    online: () => page.dispatchEvent(new Event('online')),
    show: (visibilityState) => {
      document.visibilityState = visibilityState;
      document.dispatchEvent(new Event('visibilitychange'));
    },
  };
}

test('a page that is seen again, or online again, looks at once', async (t) => {
  const page = fakePage(t);
  const { connection, tick, hub, client } = await openClient(t);
  page.show('hidden');
  page.show('visible');
  assert.deepEqual(await connection.frame(), { type: 'ping' });
  tick(6000);
  page.online(); // while the ping is under way: no further time is given
  tick(4000);
  const { retryAt } = await until(client, 'waiting');
  assert.ok(retryAt > Date.now());
  page.online();
  const again = await hub.connection(); // without waiting
  again.welcome();
  await until(client, 'open');
  client.close();
  page.online();
  page.show('visible');
  assert.equal(client.state, 'closed');
});

// Ending

test('close leaves with 1000, is safe to repeat, and holds no timer', async (t) => {
  const { connection, client, tick, asked } = await openClient(t);
  const states = [];
  client.onState((state, info) => states.push([state, info.code]));
  client.close();
  client.close();
  assert.equal(await connection.closed(), 1000);
  tick(600_000);
  assert.deepEqual(states, [
    ['open', undefined],
    ['closed', 1000],
  ]);
  assert.equal(asked.count, 1);
});

test('close while the token is being fetched', async (t) => {
  const { client, asked } = startClient(t, { url: 'ws://127.0.0.1:1/ws' });
  client.close();
  await settled();
  assert.equal(client.state, 'closed');
  assert.equal(asked.count, 1);
});

test('close while connecting', async (t) => {
  const hub = await startHub(t);
  const { client } = startClient(t, hub);
  await hub.connection();
  client.close();
  await settled();
  assert.equal(client.state, 'closed');
});

test('close while waiting', async (t) => {
  const tick = stopTheClock(t);
  const { client, asked } = startClient(t, { url: 'ws://127.0.0.1:1/ws' });
  await until(client, 'waiting');
  client.close();
  tick(600_000);
  assert.equal(asked.count, 1);
});

test('close inside a listener', async (t) => {
  const hub = await startHub(t);
  const { client } = startClient(t, hub);
  const joined = t.mock.fn();
  client.onJoined(joined);
  client.onState((state) => state === 'open' && client.close());
  const connection = await hub.connection();
  connection.welcome('user:42');
  assert.equal(await connection.closed(), 1000);
  assert.equal(client.state, 'closed');
  assert.equal(joined.mock.callCount(), 0);
});

test('reconnect cuts the waiting short, and has no effect on what is under way', async (t) => {
  const { connection, client, hub, asked } = await openClient(t);
  client.reconnect();
  assert.equal(client.state, 'open');
  connection.socket.terminate();
  await until(client, 'waiting');
  client.reconnect();
  client.reconnect();
  assert.equal((await hub.connection()).token, 't2');
  assert.equal(asked.count, 2);
});
