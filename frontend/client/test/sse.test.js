import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heard, settled, startClient, startHub, stopTheClock, until } from './hub.js';

const at = (offset) => `e1:${offset}-1790`;
const MINUTES = 60_000;

/** A client without a WebSocket, that is welcomed. */
async function openEvents(t, options, ...channels) {
  t.mock.method(Math, 'random', () => 0);
  const hub = await startHub(t);
  const started = startClient(t, hub, { WebSocket: null, ...options });
  const stream = await hub.stream();
  stream.welcome(...channels);
  await until(started.client, 'open');
  return { hub, stream, ...started };
}

const code = (promise) =>
  promise.then(
    () => assert.fail('it did not reject'),
    (error) => error.code,
  );

test('without a WebSocket messages come as events, the token in a header', async (t) => {
  const { client, stream } = await openEvents(t, {}, 'user:42');
  assert.equal(stream.path, '/sse');
  assert.equal(stream.token, 't1');
  assert.equal(stream.lastEventId, undefined);
  assert.equal(client.user, '42');
  const got = [];
  client.on('user:42', (data) => got.push(data));
  stream.message('user:42', 1);
  stream.response.write('id: x\r\ndata: {"type":"message",\r\n');
  stream.response.write('data:"channel":"user:42","data":2}\r\n\r\n:\n\n\nevent: other\n\n');
  await heard(client, stream);
  assert.deepEqual(got, [1, 2]);
  client.close();
  await stream.closed();
});

test('without getToken the cookie speaks', async (t) => {
  const fetched = t.mock.method(globalThis, 'fetch');
  const { stream } = await openEvents(t, { getToken: undefined });
  assert.equal(stream.token, undefined);
  assert.equal(fetched.mock.calls[0].arguments[1].credentials, 'include');
});

test('a stream resumes where the page stands', async (t) => {
  const { hub, client, stream } = await openEvents(t, {}, { channel: 'a', position: at(1) });
  const told = [];
  client.onResync((channel) => told.push(channel));
  client.on('a', (data) => told.push(data));
  stream.send({ type: 'message', channel: 'a', position: at(2), data: 2 }, `a=${at(2)}`);
  await heard(client, stream);
  stream.response.end();
  const again = await hub.stream();
  assert.equal(again.lastEventId, `a=${at(2)}`);
  assert.equal(again.token, 't2');
  again.welcome({ channel: 'a', position: at(2), recovered: true });
  again.message('a', 2, at(2));
  again.message('a', 3, at(3));
  await heard(client, again);
  assert.deepEqual(told, [2, 3]);
});

test('a stored position resumes a stream too', async (t) => {
  const store = { getItem: () => JSON.stringify({ 'a=b': at(1), c: at(2) }), setItem: () => {} };
  const { stream } = await openEvents(t, { store });
  assert.equal(stream.lastEventId, `a=b=${at(1)},c=${at(2)}`);
});

test('subscribing and unsubscribing take another stream, one for many', async (t) => {
  const { hub, client, stream } = await openEvents(t, {}, 'user:42', 'room:2');
  const both = Promise.all(['room:1', 'room:2', 'room:3'].map((channel) => client.subscribe(channel)));
  const second = await hub.stream();
  await stream.closed();
  assert.deepEqual(second.channels, ['room:1', 'room:2', 'room:3']);
  second.welcome('user:42', 'room:1', 'room:2');
  await until(client, 'open');
  second.send({ type: 'joined', channel: 'room:3' });
  await both;
  const left = [];
  client.onLeft((...args) => left.push(args.join(' ')));
  await client.unsubscribe('room:1');
  await client.unsubscribe('room:3');
  assert.equal(await code(client.unsubscribe('user:42')), 'receive_only');
  const third = await hub.stream();
  assert.deepEqual(third.channels, ['room:2']);
  assert.deepEqual(left, ['room:1 unsubscribed', 'room:3 unsubscribed']);
  third.welcome('user:42', 'room:2');
  await heard(client, third);
  assert.deepEqual(client.channels, ['user:42', 'room:2']);
  assert.equal(hub.untaken, 0);
});

test('a channel that is left and asked for again is silent until another stream has it', async (t) => {
  const { hub, client } = await openEvents(t, {});
  const first = client.subscribe('room:1');
  const second = await hub.stream();
  second.welcome('room:1');
  await first;
  const told = [];
  client.on('room:1', (data) => told.push(data));
  await client.unsubscribe('room:1');
  let joined = false;
  const again = client.subscribe('room:1').then(() => {
    joined = true;
  });
  second.message('room:1', 1);
  await heard(client, second);
  assert.ok(!joined);
  const third = await hub.stream();
  assert.deepEqual(third.channels, ['room:1']);
  third.welcome('room:1');
  await again;
  third.message('room:1', 2);
  await heard(client, third);
  assert.deepEqual(told, [2]);
});

test('a channel that is left while the stream is made is not joined by it', async (t) => {
  const { hub, client } = await openEvents(t, {});
  const joined = [];
  client.onJoined((channel) => joined.push(channel));
  const subscribed = code(client.subscribe('room:1'));
  const second = await hub.stream();
  await client.unsubscribe('room:1');
  assert.equal(await subscribed, 'unsubscribed');
  second.welcome('room:1');
  const third = await hub.stream();
  assert.deepEqual(third.channels, []);
  third.welcome();
  await heard(client, third);
  assert.deepEqual(joined, []);
});

test('a channel that is refused, or never comes, rejects', async (t) => {
  const tick = stopTheClock(t);
  const { hub, client, stream } = await openEvents(t, {}, 'user:42');
  const refused = code(client.subscribe('room:1'));
  const silent = code(client.subscribe('room:2'));
  assert.equal(stream.channels.length, 0);
  tick(60);
  const second = await hub.stream();
  second.welcome('user:42');
  second.send({ type: 'error', channel: 'room:1', code: 'forbidden', message: 'no grant' });
  assert.equal(await refused, 'forbidden');
  await heard(client, second);
  second.beat();
  tick(15_000);
  assert.equal(await silent, 'timeout');
  assert.equal(client.state, 'open');
  assert.equal(hub.untaken, 0);
});

test('what would have to be sent rejects', async (t) => {
  const { client } = await openEvents(t, {}, { channel: 'a', position: at(1) });
  assert.equal(await code(client.publish('a', 1)), 'receive_only');
  assert.equal(await code(client.ack('a')), 'receive_only');
  assert.equal(await code(client.history('a')), 'receive_only');
});

for (const [end, state] of [
  [4001, 'waiting'],
  [4401, 'waiting'],
  [4403, 'closed'],
  [4429, 'closed'],
]) {
  test(`an event that says closed with ${end}: ${state}`, async (t) => {
    const { client, stream } = await openEvents(t, {});
    const states = new Promise((resolve) => {
      client.onState((now, info) => now !== 'open' && resolve([now, info.code, info.reason]));
    });
    stream.send({ type: 'close', code: end, reason: 'why' });
    assert.deepEqual(await states, [state, end, 'why']);
  });
}

test('on a WebSocket such a frame means nothing', async (t) => {
  const hub = await startHub(t);
  const { client } = startClient(t, hub);
  const connection = await hub.connection();
  connection.welcome();
  connection.send({ type: 'close', code: 4403 });
  await heard(client, connection);
  assert.equal(client.state, 'open');
});

test('a refusal is judged by its status', async (t) => {
  const refusal = { type: 'error', code: 'x', message: 'why', retry_after: 7 };
  for (const [answer, expected] of [
    [[204], ['closed', 4403]],
    [
      [403, refusal],
      ['closed', 4403],
    ],
    [
      [400, refusal],
      ['closed', 4400],
    ],
    [
      [401, refusal],
      ['waiting', 4401],
    ],
    [
      [503, refusal],
      ['waiting', 4000],
    ],
    [
      [403, { proxy: 'says no' }],
      ['waiting', 1006],
    ],
    [
      [404, '<html>'],
      ['waiting', 1006],
    ],
  ]) {
    const hub = await startHub(t);
    hub.refuseEvents.push(answer);
    const { client } = startClient(t, hub, { WebSocket: null });
    const before = Date.now();
    const [state, info] = await new Promise((resolve) => {
      client.onState((...args) => args[0] !== 'connecting' && resolve(args));
    });
    assert.deepEqual([state, info.code], expected);
    if (info.code === 4000) assert.ok(info.retryAt >= before + 7000);
    client.close();
  }
});

/** WebSockets that fail as often as told: each attempt is either taken by the hub or refused. */
async function blocked(t, ...statuses) {
  const tick = stopTheClock(t);
  t.mock.method(Math, 'random', () => 0);
  const hub = await startHub(t);
  hub.refuse.push(...statuses);
  const started = startClient(t, hub);
  const waited = async () => {
    await until(started.client, 'waiting');
    tick(0);
  };
  return { tick, hub, waited, ...started };
}

test('a WebSocket that fails twice gives way to events, and is tried again after five minutes', async (t) => {
  const { tick, hub, waited, client } = await blocked(t, 502, 502, 502);
  await waited();
  await waited();
  const first = await hub.stream();
  first.welcome('a');
  await until(client, 'open');
  first.response.end();
  await waited();
  const second = await hub.stream(); // too early for a WebSocket
  second.welcome('a');
  await until(client, 'open');
  for (let i = 0; i < 25; i++) {
    tick(MINUTES / 5);
    second.beat();
    await heard(client, second);
  }
  assert.equal(hub.refuse.length, 1);
  second.response.end();
  await waited();
  await waited(); // one more that fails is enough
  assert.equal(hub.refuse.length, 0);
  const third = await hub.stream();
  third.welcome('a');
  await until(client, 'open');
  for (let i = 0; i < 25; i++) {
    tick(MINUTES / 5);
    third.beat();
    await heard(client, third);
  }
  third.response.end();
  await waited();
  (await hub.connection()).welcome('a');
  await until(client, 'open');
});

test('a hub that does not answer at all is tried both ways', async (t) => {
  const { hub, waited, client } = await blocked(t, 502, 502);
  hub.refuseEvents.push([502, {}]);
  await waited();
  await waited();
  await waited();
  (await hub.connection()).welcome('a');
  await until(client, 'open');
});

test('once a WebSocket was welcomed, it is never given up', async (t) => {
  const { hub, waited, client } = await blocked(t);
  const connection = await hub.connection();
  connection.welcome('a');
  await until(client, 'open');
  hub.refuse.push(502, 502, 502, 502);
  connection.socket.terminate();
  for (let i = 0; i < 5; i++) await waited();
  await hub.connection();
});

test('a WebSocket that the hub closes before welcome got through', async (t) => {
  const { hub, waited } = await blocked(t);
  for (let i = 0; i < 3; i++) {
    (await hub.connection()).socket.close(4003, 'no broker');
    await waited();
  }
  await hub.connection();
});

test('offline, nothing is learned from what fails', async (t) => {
  const own = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  Object.defineProperty(globalThis, 'navigator', { value: { onLine: false }, configurable: true });
  t.after(() => {
    if (own) Object.defineProperty(globalThis, 'navigator', own);
    else delete globalThis.navigator;
  });
  const { hub, waited } = await blocked(t, 502, 502, 502);
  for (let i = 0; i < 3; i++) await waited();
  await hub.connection();
});

test('sse: false never takes events', async (t) => {
  t.mock.method(Math, 'random', () => 0);
  const hub = await startHub(t);
  hub.refuse.push(502, 502, 502);
  startClient(t, hub, { sse: false });
  await hub.connection();
  assert.equal(hub.untaken, 0);
});

test('a stream without a heartbeat is dead, one that beats is not', async (t) => {
  const tick = stopTheClock(t);
  const { client, stream } = await openEvents(t, {});
  for (let i = 0; i < 4; i++) {
    tick(15_000);
    stream.beat();
    await heard(client, stream);
  }
  tick(34_999);
  assert.equal(client.state, 'open');
  tick(1);
  assert.notEqual(client.state, 'open');
  await stream.closed();
});

test('expiring over events is left to the next connect', async (t) => {
  const { client, stream, asked } = await openEvents(t, {});
  stream.send({ type: 'expiring', expires_at: 1 });
  await heard(client, stream);
  await settled();
  assert.equal(asked.count, 1);
});
