import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AldabaError, heard, startClient, startHub, stopTheClock, until } from './hub.js';

async function openClient(t, ...channels) {
  const hub = await startHub(t);
  const started = startClient(t, hub);
  const connection = await hub.connection();
  connection.welcome(...channels);
  await until(started.client, 'open');
  return { hub, connection, ...started };
}

async function refuses(promise, code) {
  const error = await promise.then(
    () => assert.fail('it did not reject'),
    (reason) => reason,
  );
  assert.ok(error instanceof AldabaError);
  assert.equal(error.code, code);
  return error;
}

test('subscribe resolves on joined, and once joined at once', async (t) => {
  const { client, connection } = await openClient(t, 'user:42');
  const promise = client.subscribe('room:7');
  assert.equal(client.subscribe('room:7'), promise);
  const { id, ...frame } = await connection.frame();
  assert.deepEqual(frame, { type: 'subscribe', channel: 'room:7' });
  connection.send({ type: 'joined', id, channel: 'room:7' });
  await promise;
  assert.deepEqual(client.channels, ['user:42', 'room:7']);
  await client.subscribe('room:7');
  await client.subscribe('user:42');
  assert.equal(connection.unread, 0);
});

test('subscribe before welcome waits for it, and asks one at a time', async (t) => {
  const hub = await startHub(t);
  const { client } = startClient(t, hub);
  const both = [client.subscribe('room:1'), client.subscribe('room:2'), client.subscribe('user:42')];
  const connection = await hub.connection();
  connection.welcome('user:42');
  await both[2]; // came with welcome
  const first = await connection.frame();
  assert.equal(first.channel, 'room:1');
  await heard(client, connection);
  assert.equal(connection.unread, 0);
  connection.send({ type: 'joined', id: first.id, channel: 'room:1' });
  const second = await connection.frame();
  assert.equal(second.channel, 'room:2');
  connection.send({ type: 'joined', id: second.id, channel: 'room:2' });
  await Promise.all(both);
});

test('a refused subscribe rejects with code and retry time, and is forgotten', async (t) => {
  const { hub, client, connection } = await openClient(t);
  const refused = refuses(client.subscribe('room:7'), 'forbidden');
  const one = await connection.frame();
  connection.send({ type: 'error', id: one.id, code: 'forbidden', message: 'no grant' });
  assert.equal((await refused).message, 'no grant');

  const unavailable = refuses(client.subscribe('room:8'), 'unavailable');
  const two = await connection.frame();
  connection.send({ type: 'error', id: two.id, code: 'unavailable', message: 'later', retry_after: 3 });
  assert.equal((await unavailable).retryAfter, 3);

  t.mock.method(Math, 'random', () => 0);
  connection.socket.terminate();
  const again = await hub.connection();
  again.welcome();
  await until(client, 'open');
  await heard(client, again);
  assert.equal(again.unread, 0);
});

test('asking too fast is slowed down, not refused', async (t) => {
  const tick = stopTheClock(t);
  const { client, connection } = await openClient(t);
  const promise = client.subscribe('room:7');
  const one = await connection.frame();
  connection.send({ type: 'error', id: one.id, code: 'rate_limited', message: 'too fast', retry_after: 2 });
  await heard(client, connection);
  tick(2099); // two seconds, and a tenth for clocks that differ
  assert.equal(connection.unread, 0);
  tick(1);
  const two = await connection.frame();
  assert.equal(two.channel, 'room:7');
  connection.send({ type: 'joined', id: two.id, channel: 'room:7' });
  await promise;
});

test('after a reconnect the page is subscribed again, and told what it may have missed', async (t) => {
  t.mock.method(Math, 'random', () => 0);
  const { hub, client, connection } = await openClient(t, 'user:42', 'gone');
  const promise = client.subscribe('room:7');
  const { id } = await connection.frame();
  connection.send({ type: 'joined', id, channel: 'room:7' });
  await promise;

  const told = [];
  client.onJoined((channel) => told.push(`joined ${channel}`));
  client.onResync((channel) => told.push(`resync ${channel}`));
  connection.socket.terminate();
  const again = await hub.connection();
  again.welcome('user:42', 'new');
  const frame = await again.frame();
  assert.equal(frame.channel, 'room:7');
  again.send({ type: 'joined', id: frame.id, channel: 'room:7' });
  await heard(client, again);
  assert.deepEqual(told, [
    'joined user:42',
    'resync user:42',
    'joined new',
    'joined room:7',
    'resync room:7',
  ]);
});

test('a channel refused after a reconnect has been left', async (t) => {
  t.mock.method(Math, 'random', () => 0);
  const { hub, client, connection } = await openClient(t);
  const promise = client.subscribe('room:7');
  const { id } = await connection.frame();
  connection.send({ type: 'joined', id, channel: 'room:7' });
  await promise;
  connection.socket.terminate();
  const again = await hub.connection();
  again.welcome();
  const left = new Promise((resolve) => client.onLeft((...args) => resolve(args)));
  const frame = await again.frame();
  again.send({ type: 'error', id: frame.id, code: 'forbidden', message: 'no grant' });
  assert.deepEqual(await left, ['room:7', 'forbidden']);
});

test('a channel unavailable after a reconnect is asked for again', async (t) => {
  const tick = stopTheClock(t);
  t.mock.method(Math, 'random', () => 0);
  const { hub, client, connection } = await openClient(t);
  const promise = client.subscribe('room:7');
  const { id } = await connection.frame();
  connection.send({ type: 'joined', id, channel: 'room:7' });
  await promise;
  connection.socket.terminate();
  await until(client, 'waiting');
  tick(0);
  const again = await hub.connection();
  again.welcome();
  const frame = await again.frame();
  again.send({ type: 'error', id: frame.id, code: 'unavailable', message: 'later', retry_after: 1 });
  await heard(client, again);
  tick(1100); // and a tenth for clocks that differ
  assert.equal((await again.frame()).channel, 'room:7');
});

test('a subscribe that the connection did not survive is asked again', async (t) => {
  t.mock.method(Math, 'random', () => 0);
  const { hub, client, connection } = await openClient(t);
  const promise = client.subscribe('room:7');
  await connection.frame();
  connection.socket.terminate();
  const again = await hub.connection();
  again.welcome();
  const { id } = await again.frame();
  again.send({ type: 'joined', id, channel: 'room:7' });
  await promise;
});

test('unsubscribe leaves, and the channel is not asked for again', async (t) => {
  t.mock.method(Math, 'random', () => 0);
  const { hub, client, connection } = await openClient(t, 'room:7');
  await client.subscribe('room:7');
  const promise = client.unsubscribe('room:7');
  const { id, ...frame } = await connection.frame();
  assert.deepEqual(frame, { type: 'unsubscribe', channel: 'room:7' });
  connection.send({ type: 'left', id, channel: 'room:7', reason: 'unsubscribed' });
  await promise;
  assert.deepEqual(client.channels, []);
  await client.unsubscribe('never:joined');
  connection.socket.terminate();
  const again = await hub.connection();
  again.welcome();
  await until(client, 'open');
  await heard(client, again);
  assert.equal(again.unread, 0);
});

test('unsubscribe ends a subscribe under way, and a new subscribe is not lost in the crossing', async (t) => {
  const { client, connection } = await openClient(t);
  const first = refuses(client.subscribe('room:7'), 'unsubscribed');
  const left = client.unsubscribe('room:7');
  let joined = false;
  const second = client.subscribe('room:7').then(() => {
    joined = true;
  });
  const one = await connection.frame();
  const two = await connection.frame();
  connection.send({ type: 'joined', id: one.id, channel: 'room:7' });
  connection.send({ type: 'left', id: two.id, channel: 'room:7', reason: 'unsubscribed' });
  const three = await connection.frame();
  assert.equal(three.type, 'subscribe');
  assert.ok(!joined, 'joined before the hub has said so');
  connection.send({ type: 'joined', id: three.id, channel: 'room:7' });
  await Promise.all([first, left, second]);
  await heard(client, connection);
  assert.deepEqual(client.channels, ['room:7']);
});

test('a channel that is being left is not joined, and is left again when that was too often', async (t) => {
  const { client, connection } = await openClient(t, 'room:7');
  const told = [];
  client.on('room:7', (data) => told.push(data));
  const left = client.unsubscribe('room:7');
  const again = client.subscribe('room:7');
  assert.deepEqual(client.channels, []);
  for (const retry_after of [0.01, 0.01]) {
    const { id, type } = await connection.frame();
    assert.equal(type, 'unsubscribe');
    connection.message('room:7', 1);
    connection.send({ type: 'error', id, code: 'rate_limited', message: 'too many frames', retry_after });
  }
  const { id } = await connection.frame();
  assert.equal(connection.unread, 0);
  connection.send({ type: 'left', id, channel: 'room:7', reason: 'unsubscribed' });
  await left;
  assert.equal((await connection.join()).type, 'subscribe');
  await again;
  connection.message('room:7', 2);
  await heard(client, connection);
  assert.deepEqual(client.channels, ['room:7']);
  assert.deepEqual(told, [2]);
});

test('many channels are left one at a time', async (t) => {
  const rooms = Array.from({ length: 4 }, (_, n) => `room:${n}`);
  const { client, connection } = await openClient(t, ...rooms);
  const left = Promise.all(rooms.map((room) => client.unsubscribe(room)));
  for (const room of rooms) {
    const { id, channel } = await connection.frame();
    assert.equal(channel, room);
    assert.equal(connection.unread, 0);
    connection.send({ type: 'left', id, channel, reason: 'unsubscribed' });
  }
  await left;
});

test('a subscribe that meets the end of the grant is answered', async (t) => {
  const { client, connection } = await openClient(t, 'room:7');
  const left = client.unsubscribe('room:7');
  const again = refuses(client.subscribe('room:7'), 'revoked');
  const { id } = await connection.frame();
  connection.send({ type: 'left', channel: 'room:7', reason: 'revoked' });
  connection.send({ type: 'error', id, code: 'not_joined', message: 'not joined' });
  await Promise.all([left, again]);
  assert.deepEqual(client.channels, []);
});

test('who changes their mind while the hub is asked is asked for in the end', async (t) => {
  const { client, connection } = await openClient(t);
  const gone = [client.subscribe('a'), refuses(client.subscribe('room'), 'unsubscribed')]; // room waits for its turn
  gone.push(client.unsubscribe('room'), refuses(client.subscribe('room'), 'unsubscribed'));
  await connection.join();
  const { id, type } = await connection.frame();
  assert.equal(type, 'unsubscribe');
  gone.push(client.unsubscribe('room'));
  const again = client.subscribe('room');
  connection.send({ type: 'error', id, code: 'not_joined', message: 'not joined' });
  assert.equal((await connection.join()).type, 'subscribe');
  await Promise.all([again, ...gone]);
  assert.deepEqual(client.channels, ['a', 'room']);
});

test('what was not answered in time is not counted on', async (t) => {
  const { client, connection } = await openClient(t, 'room');
  const tick = stopTheClock(t);
  const left = refuses(client.unsubscribe('room'), 'timeout');
  const { id } = await connection.frame();
  tick(15_000);
  await left;
  const again = client.subscribe('room');
  const { type, id: asked } = await connection.frame();
  assert.equal(type, 'subscribe');
  connection.send({ type: 'left', id, channel: 'room', reason: 'unsubscribed' });
  connection.send({ type: 'joined', id: asked, channel: 'room' });
  await again;
  assert.deepEqual(client.channels, ['room']);
});

test('only a string names a channel', async (t) => {
  const { client, connection } = await openClient(t);
  for (const channel of [5, '', null, undefined, ['user:42']]) {
    assert.throws(() => client.on(channel, () => {}), TypeError);
    await assert.rejects(client.subscribe(channel), TypeError);
    await assert.rejects(client.unsubscribe(channel), TypeError);
    await assert.rejects(client.publish(channel, 1), TypeError);
  }
  assert.equal(connection.unread, 0);
});

test('publishing too fast rejects at once, with the time to wait', async (t) => {
  const { client, connection } = await openClient(t);
  const refused = refuses(client.publish('room:7', 1), 'rate_limited');
  const { id } = await connection.frame();
  connection.send({ type: 'error', id, code: 'rate_limited', message: 'too fast', retry_after: 0.05 });
  assert.equal((await refused).retryAfter, 0.05);
});

test('publish resolves on published and rejects with the code of the hub', async (t) => {
  const { client, connection } = await openClient(t, 'room:7');
  const good = client.publish('room:7', { text: 'hi' });
  const bad = refuses(client.publish('room:8', [1, null]), 'forbidden');
  const { id, ...frame } = await connection.frame();
  assert.deepEqual(frame, { type: 'publish', channel: 'room:7', data: { text: 'hi' } });
  const other = await connection.frame();
  connection.send({ type: 'error', id: other.id, code: 'forbidden', message: 'no grant' });
  connection.send({ type: 'published', id });
  await Promise.all([good, bad]);
  await assert.rejects(client.publish('room:7', 1n), TypeError);
});

test('publish while not open rejects at once as offline', async (t) => {
  const hub = await startHub(t);
  const { client } = startClient(t, hub);
  await refuses(client.publish('room:7', 1), 'offline');
  client.close();
  await refuses(client.publish('room:7', 1), 'offline');
});

test('a command whose connection ends before the answer rejects', async (t) => {
  const { client, connection } = await openClient(t);
  const lost = refuses(client.publish('room:7', 1), 'connection_lost');
  await connection.frame();
  connection.socket.close(4002);
  await lost;
});

test('a command without an answer times out', async (t) => {
  const tick = stopTheClock(t);
  const { client, connection } = await openClient(t);
  const publish = refuses(client.publish('room:7', 1), 'timeout');
  const subscribe = refuses(client.subscribe('room:7'), 'timeout');
  await connection.frame();
  await connection.frame();
  tick(15_000);
  await Promise.all([publish, subscribe]);
  assert.equal(client.state, 'open');
});

test('close answers everything that waits', async (t) => {
  const { client, connection } = await openClient(t);
  const waiting = [client.publish('room:7', 1), client.subscribe('room:7'), client.subscribe('room:8')].map(
    (promise) => refuses(promise, 'closed'),
  );
  await connection.frame();
  client.close();
  await Promise.all(waiting);
  await refuses(client.subscribe('room:9'), 'closed');
  assert.equal(await connection.closed(), 1000);
});
