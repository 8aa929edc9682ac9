import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, heard, startClient, startHub, until } from './hub.js';

async function openClient(t, ...channels) {
  const hub = await startHub(t);
  const started = startClient(t, hub);
  const connection = await hub.connection();
  connection.welcome(...channels);
  await until(started.client, 'open');
  return { hub, connection, ...started };
}

test('the token travels as a subprotocol, and welcome tells who and where', async (t) => {
  const hub = await startHub(t);
  const { client } = startClient(t, hub);
  const states = [];
  client.onState((state) => states.push(state));
  assert.equal(client.user, null);
  const connection = await hub.connection();
  assert.deepEqual(connection.offered, ['aldaba.v1', 'bearer.t1']);
  connection.welcome('user:42', 'broadcast');
  await until(client, 'open');
  assert.deepEqual(states, ['connecting', 'open']);
  assert.equal(client.state, 'open');
  assert.equal(client.user, '42');
  assert.equal(client.session, 's1');
  assert.deepEqual(client.channels, ['user:42', 'broadcast']);
});

test('without getToken the cookie speaks, and only the protocol is offered', async (t) => {
  const hub = await startHub(t);
  startClient(t, hub, { getToken: undefined });
  const connection = await hub.connection();
  assert.deepEqual(connection.offered, ['aldaba.v1']);
});

test('a handler is called once per message of its channel, until taken off', async (t) => {
  const hub = await startHub(t);
  const { client } = startClient(t, hub);
  const got = [];
  const handler = (data, message) => got.push([data, message.channel]);
  const off = client.on('user:42', handler); // before anything is joined
  client.on('user:42', handler); // twice is once
  client.on('user:4', () => assert.fail('not its channel'));
  const connection = await hub.connection();
  connection.welcome('user:42');
  connection.message('user:42', { title: 'hello' });
  connection.message('user:42', null);
  await heard(client, connection);
  assert.deepEqual(got, [
    [{ title: 'hello' }, 'user:42'],
    [null, 'user:42'],
  ]);
  off();
  off();
  connection.message('user:42', 3);
  await heard(client, connection);
  assert.equal(got.length, 2);
});

test('onMessage hears every channel', async (t) => {
  const { client, connection } = await openClient(t, 'a', 'b');
  const got = [];
  const off = client.onMessage((message) => got.push(message.channel));
  connection.message('a', 1);
  connection.message('b', 2);
  await heard(client, connection);
  off();
  assert.deepEqual(got.slice(0, 2), ['a', 'b']);
});

test('a handler that throws or rejects breaks no other and is reported', async (t) => {
  const { client, connection, error } = await openClient(t, 'a');
  const got = [];
  client.on('a', () => {
    throw new Error('first');
  });
  client.on('a', async () => {
    throw new Error('second');
  });
  client.on('a', (data) => got.push(data));
  connection.message('a', 1);
  await heard(client, connection);
  assert.deepEqual(got, [1]);
  assert.equal((await error()).message, 'first');
  assert.equal((await error()).message, 'second');
});

test('errors go to the console when nobody listens, and an error listener may throw too', async (t) => {
  const said = t.mock.method(console, 'error', () => {});
  const hub = await startHub(t);
  const { client, listenNoMore } = startClient(t, hub);
  listenNoMore();
  const connection = await hub.connection();
  connection.welcome('a');
  client.on('a', () => {
    throw new Error('boom');
  });
  connection.message('a', 1);
  await heard(client, connection);
  assert.equal(said.mock.calls[0].arguments[1].message, 'boom');
  client.onError(() => {
    throw new Error('worse');
  });
  connection.message('a', 1);
  await heard(client, connection);
  assert.equal(said.mock.calls[1].arguments[1].message, 'worse');
});

test('a handler taken off by another during a message is not called', async (t) => {
  const { client, connection } = await openClient(t, 'a');
  let off = () => {};
  client.on('a', () => {
    off();
    client.on('a', () => assert.fail('added meanwhile: it waits for the next message'));
  });
  off = client.on('a', () => assert.fail('was taken off'));
  connection.message('a', 1);
  await heard(client, connection);
});

test('frames of unknown types are ignored, what is not JSON is reported, both are survived', async (t) => {
  const { client, connection, error, errors } = await openClient(t, 'a');
  connection.send({ type: 'presence', channel: 'a', event: 'join', user: '9' });
  connection.send('null');
  connection.send('[]');
  connection.send({ type: 'published', id: 999 });
  connection.send({ type: '__proto__' });
  await heard(client, connection);
  assert.equal(errors.length, 0);
  connection.send('{"type":');
  assert.equal((await error()).code, 'bad_frame');
  connection.socket.send(Buffer.from([0xff, 0x00]), { binary: true });
  assert.equal((await error()).code, 'bad_frame');
  assert.equal(client.state, 'open');
});

test('an error frame that answers no command is reported with its code', async (t) => {
  const { connection, error } = await openClient(t);
  connection.send({ type: 'error', code: 'rate_limited', message: 'too fast', retry_after: 2 });
  const reported = await error();
  assert.equal(reported.code, 'rate_limited');
  assert.equal(reported.retryAfter, 2);
});

test("the hub's resync reaches the page", async (t) => {
  const { client, connection } = await openClient(t, 'broadcast');
  const resync = new Promise((resolve) => client.onResync(resolve));
  connection.send({ type: 'resync', channel: 'broadcast' });
  assert.equal(await resync, 'broadcast');
});

test('channels that a refreshed token gains and loses are told', async (t) => {
  const { client, connection } = await openClient(t, 'a');
  const told = [];
  client.onJoined((channel) => told.push(`+${channel}`));
  client.onLeft((channel, reason) => told.push(`-${channel} ${reason}`));
  connection.send({ type: 'left', channel: 'a', reason: 'revoked' });
  connection.send({ type: 'joined', channel: 'b' });
  await heard(client, connection);
  assert.deepEqual(told, ['-a revoked', '+b']);
  assert.deepEqual(client.channels, ['b']);
});

test('connect refuses what can never work', () => {
  class WebSocket {}
  assert.throws(() => connect({ url: 'ws://localhost/ws', WebSocket: null, sse: false }), /no WebSocket/);
  assert.throws(() => connect({ url: 'ws://localhost/hub', WebSocket: null }), /no WebSocket/); // and no /sse
  assert.throws(() => connect({ url: 'ftp://localhost/ws', WebSocket }), /not a WebSocket url/);
  assert.throws(() => connect({ url: '/ws', WebSocket }), TypeError); // relative, and there is no page
});

test('an http URL is taken for its WebSocket', async (t) => {
  const hub = await startHub(t);
  startClient(t, { url: hub.url.replace('ws:', 'http:') });
  await hub.connection();
});
