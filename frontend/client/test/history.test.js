import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AldabaError, heard, startClient, startHub, until } from './hub.js';

const at = (offset) => `e1:${offset}-1790`;

async function openClient(t, ...channels) {
  const hub = await startHub(t);
  const started = startClient(t, hub);
  const connection = await hub.connection();
  connection.welcome(...channels);
  await until(started.client, 'open');
  const told = [];
  started.client.onRead((...args) => told.push(args.join(' ')));
  return { hub, connection, told, ...started };
}

const code = (promise) =>
  promise.then(
    () => assert.fail('it did not reject'),
    (error) => {
      assert.ok(error instanceof AldabaError);
      return error.code;
    },
  );

test('unread is what the hub says, and counts what comes', async (t) => {
  const { client, connection, told } = await openClient(
    t,
    { channel: 'a', position: at(5), recovered: false, unread: 3 },
    'plain',
  );
  assert.equal(client.unread('a'), 3);
  assert.equal(client.unread('plain'), undefined);
  connection.message('a', 1, at(6));
  connection.message('a', 1, at(6));
  connection.message('plain', 1);
  await heard(client, connection);
  assert.deepEqual(told, ['a 4']);
  client.subscribe('room:7');
  await connection.join({ position: at(2), unread: 0 });
  connection.message('room:7', 1, at(3));
  await heard(client, connection);
  assert.deepEqual(told, ['a 4', 'room:7 0', 'room:7 1']);
  connection.send({ type: 'left', channel: 'room:7', reason: 'revoked' });
  await heard(client, connection);
  assert.equal(client.unread('room:7'), undefined);
});

test('ack marks the newest message that was heard, or another', async (t) => {
  const { client, connection, told } = await openClient(t, { channel: 'a', position: at(5), unread: 3 });
  connection.message('a', 1, at(6));
  await heard(client, connection);
  const newest = client.ack('a');
  const { id, ...frame } = await connection.frame();
  assert.deepEqual(frame, { type: 'ack', channel: 'a', position: at(6) });
  connection.send({ type: 'acked', id, channel: 'a', position: at(6), unread: 0 });
  assert.equal(await newest, 0);
  const older = client.ack('a', at(2));
  const second = await connection.frame();
  assert.equal(second.position, at(2));
  connection.send({ type: 'acked', id: second.id, channel: 'a', position: at(6), unread: 0 });
  assert.equal(await older, 0);
  assert.deepEqual(told, ['a 4', 'a 0']);
});

test('a message that crosses an ack is counted once', async (t) => {
  const { client, connection } = await openClient(t, { channel: 'a', position: at(5), unread: 3 });
  const acked = client.ack('a');
  const { id } = await connection.frame();
  connection.send({ type: 'acked', id, channel: 'a', position: at(5), unread: 1 }); // the hub knows of the sixth
  assert.equal(await acked, 0);
  connection.message('a', 1, at(6));
  await heard(client, connection);
  assert.equal(client.unread('a'), 1);
});

test('an ack that is answered late hides no message', async (t) => {
  const { client, connection } = await openClient(t, { channel: 'a', position: at(6), unread: 3 });
  const acked = client.ack('a');
  const { id } = await connection.frame();
  connection.send({ type: 'read', channel: 'a', position: at(6), unread: 0 });
  connection.message('a', 7, at(7));
  connection.send({ type: 'acked', id, channel: 'a', position: at(6), unread: 0 });
  assert.equal(await acked, 1);
  await heard(client, connection);
  assert.equal(client.unread('a'), 1);
});

test('another device reads: the event tells, and what it has read already is not counted', async (t) => {
  const { client, connection, told } = await openClient(t, { channel: 'a', position: at(5), unread: 3 });
  connection.send({ type: 'read', channel: 'a', position: at(7), unread: 0 });
  connection.message('a', 6, at(6));
  connection.message('a', 7, at(7));
  connection.message('a', 8, at(8));
  connection.send({ type: 'read', channel: 'unknown', position: at(7), unread: 5 });
  await heard(client, connection);
  assert.deepEqual(told, ['a 0', 'a 1']);
  assert.equal(client.unread('unknown'), undefined);
  connection.send({ type: 'read', channel: 'a', position: at(2), unread: 6 });
  await heard(client, connection);
  assert.equal(client.unread('a'), 6);
});

test('history asks for a page, the oldest first', async (t) => {
  const { client, connection } = await openClient(t, 'a');
  const page = client.history('a', { before: at(9), limit: 2 });
  const { id, ...frame } = await connection.frame();
  assert.deepEqual(frame, { type: 'history', channel: 'a', before: at(9), limit: 2 });
  connection.send({
    type: 'history',
    id,
    channel: 'a',
    messages: [
      { position: at(7), data: 'x' },
      { position: at(8), data: null },
    ],
    more: true,
  });
  assert.deepEqual(await page, {
    messages: [
      { channel: 'a', position: at(7), data: 'x' },
      { channel: 'a', position: at(8), data: null },
    ],
    more: true,
  });
  client.history('a');
  const newest = await connection.frame();
  assert.deepEqual(Object.keys(newest).sort(), ['channel', 'id', 'type']);
  connection.send({ type: 'history', id: newest.id, channel: 'a', messages: [], more: false });
  await heard(client, connection);
  const gone = code(client.history('a', { after: at(1) }));
  const third = await connection.frame();
  assert.equal(third.after, at(1));
  connection.send({ type: 'error', id: third.id, code: 'gone', message: 'too old' });
  assert.equal(await gone, 'gone');
});

test('what cannot be asked rejects', async (t) => {
  const { client, connection } = await openClient(t, 'plain', { channel: 'a', position: at(1) });
  assert.equal(await code(client.ack('plain')), 'no_history');
  for (const channel of [5, '', null, undefined]) {
    await assert.rejects(client.ack(channel), TypeError);
    await assert.rejects(client.history(channel), TypeError);
  }
  assert.equal(connection.unread, 0);
  client.close();
  assert.equal(await code(client.ack('a')), 'offline');
  assert.equal(await code(client.history('a')), 'offline');
});
