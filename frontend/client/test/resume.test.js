import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Positions, seen } from '../positions.js';
import { heard, startClient, startHub, stopTheClock, until } from './hub.js';

const at = (offset, epoch = 'e1') => `${epoch}:${offset}-1790`;

async function openClient(t, options, ...channels) {
  t.mock.method(Math, 'random', () => 0);
  const hub = await startHub(t);
  const started = startClient(t, hub, options);
  const connection = await hub.connection();
  connection.welcome(...channels);
  await until(started.client, 'open');
  const told = [];
  started.client.onResync((channel) => told.push(`resync ${channel}`));
  started.client.onMessage(
    ({ channel, data }) => channel.startsWith('mark-') || told.push(`${channel} ${data}`),
  );
  return { hub, connection, told, ...started };
}

test('a position is compared within its epoch alone', () => {
  for (const [position, newest, expected] of [
    [at(17), at(17), true],
    [at(9), at(10), true],
    [at(18), at(17), false],
    [at(1), at(17, 'e2'), false],
    ['e1:17-2', 'e1:17-1', true],
    ['1:e1:4-x', '1:e1:5-y', true],
    [`e1:${2n ** 64n - 2n}-1`, `e1:${2n ** 64n - 1n}-1`, true],
    [`e1:${2n ** 64n - 1n}-1`, `e1:${2n ** 64n - 2n}-1`, false],
    [undefined, undefined, false],
    [at(1), undefined, false],
    ['junk', 'junk', false],
    [null, 5, false],
  ]) {
    assert.equal(seen(position, newest), expected, `${position} and ${newest}`);
  }
});

test('a welcome that comes late does not go back to what was heard', async (t) => {
  const { connection, client, told } = await openClient(t, {}, { channel: 'a', position: at(1) });
  connection.message('a', 2, at(2));
  connection.welcome({ channel: 'a', position: at(1), recovered: true });
  connection.message('a', 2, at(2));
  connection.message('a', 3, at(3));
  await heard(client, connection);
  assert.deepEqual(told, ['a 2', 'a 3']);
});

test('the first connect does not resume, the next one says how far each channel was heard', async (t) => {
  const { hub, connection, client, told } = await openClient(
    t,
    {},
    { channel: 'user:42', position: at(1), recovered: false },
    { channel: 'org', position: at(7), recovered: false },
    'broadcast',
  );
  assert.equal(connection.path, '/ws');
  client.subscribe('room:7');
  assert.equal('position' in (await connection.join({ position: at(3), recovered: false })), false);
  connection.message('user:42', 'a', at(2));
  connection.send({ type: 'resync', channel: 'org', position: at(9) });
  await heard(client, connection);
  connection.socket.terminate();

  const again = await hub.connection();
  assert.equal(again.path, '/ws?resume');
  assert.deepEqual(await again.frame(), {
    type: 'resume',
    positions: { 'user:42': at(2), org: at(9), 'room:7': at(3) },
  });
  again.welcome(
    { channel: 'user:42', position: at(2), recovered: true },
    { channel: 'org', position: at(20), recovered: false },
    'broadcast',
  );
  again.message('user:42', 'b', at(3));
  assert.equal((await again.join({ position: at(3), recovered: true })).position, at(3));
  await heard(client, again);
  assert.deepEqual(told, ['user:42 a', 'resync org', 'resync org', 'resync broadcast', 'user:42 b']);
});

test('a message that was heard already is dropped, one of another epoch is not', async (t) => {
  const { connection, client, told } = await openClient(t, {}, { channel: 'a', position: at(5) });
  connection.message('a', 'old', at(5));
  connection.message('a', 'new', at(6));
  connection.message('a', 'again', at(6));
  connection.message('a', 'epoch', at(1, 'e2'));
  connection.message('a', 'none'); // a plain channel has no positions
  connection.message('a', 'none');
  await heard(client, connection);
  assert.deepEqual(told, ['a new', 'a epoch', 'a none', 'a none']);
});

test('a hub that stands further back than the client is believed', async (t) => {
  const { connection, client, told } = await openClient(t, {}, { channel: 'a', position: at(9) });
  connection.send({ type: 'resync', channel: 'a', position: at(5) });
  connection.message('a', 'six', at(6));
  await heard(client, connection);
  assert.deepEqual(told, ['resync a', 'a six']);
});

test('a channel that was left begins anew', async (t) => {
  const { hub, connection, client } = await openClient(t, {}, { channel: 'a', position: at(1) });
  const joined = client.subscribe('room:7');
  await connection.join({ position: at(3) });
  await joined;
  client.unsubscribe('room:7');
  const { id } = await connection.frame();
  connection.send({ type: 'left', id, channel: 'room:7', reason: 'unsubscribed' });
  await heard(client, connection);
  client.subscribe('room:7');
  assert.equal((await connection.join({ position: at(8) })).position, undefined);
  connection.send({ type: 'left', channel: 'room:7', reason: 'revoked' });
  await heard(client, connection);
  connection.socket.terminate();
  const again = await hub.connection();
  assert.deepEqual((await again.frame()).positions, { a: at(1) });
});

test('a query that the url has already stays', async (t) => {
  t.mock.method(Math, 'random', () => 0);
  const hub = await startHub(t);
  const { client } = startClient(t, { url: `${hub.url}?via=proxy` });
  const connection = await hub.connection();
  connection.welcome({ channel: 'a', position: at(1) });
  await until(client, 'open');
  connection.socket.terminate();
  assert.equal((await hub.connection()).path, '/ws?via=proxy&resume');
});

/** A sessionStorage for the length of a test. */
function fakeStorage(t, kept = {}) {
  const storage = {
    kept,
    getItem: (key) => kept[key] ?? null,
    setItem: (key, value) => {
      kept[key] = value;
    },
  };
  globalThis.sessionStorage = storage;
  t.after(() => delete globalThis.sessionStorage);
  return storage;
}

test('with a store a reload resumes, and what cannot be recovered is told', async (t) => {
  const { kept } = fakeStorage(t);
  const first = await openClient(
    t,
    { store: 'mine' },
    { channel: 'a', position: at(1) },
    { channel: 'b', position: at(1) },
  );
  first.connection.message('a', 1, at(2));
  await heard(first.client, first.connection);
  first.client.close(); // as pagehide does
  assert.deepEqual(JSON.parse(kept['aldaba:mine']), { a: at(2), b: at(1) });

  const hub = await startHub(t);
  const { client } = startClient(t, hub, { store: 'mine' });
  const told = [];
  client.onResync((channel) => told.push(channel));
  const connection = await hub.connection();
  assert.deepEqual(await connection.frame(), { type: 'resume', positions: { a: at(2), b: at(1) } });
  connection.welcome(
    { channel: 'a', position: at(2), recovered: true },
    { channel: 'b', position: at(90), recovered: false },
  );
  await heard(client, connection);
  assert.deepEqual(told, ['b']);
});

test('a store is written soon, and not for each message', async (t) => {
  const tick = stopTheClock(t);
  const setItem = t.mock.fn();
  const store = { getItem: () => null, setItem };
  const { client, connection } = await openClient(t, { store }, { channel: 'a', position: at(1) });
  for (let offset = 2; offset < 50; offset++) connection.message('a', 1, at(offset));
  await heard(client, connection);
  assert.equal(setItem.mock.callCount(), 0);
  tick(200);
  assert.deepEqual(setItem.mock.calls[0].arguments, ['aldaba', JSON.stringify({ a: at(49) })]);
  client.close();
  assert.equal(setItem.mock.callCount(), 1);
});

test('a store that throws or holds junk is one that holds nothing', () => {
  const throws = () => {
    throw new Error('forbidden');
  };
  for (const store of [
    'no sessionStorage here',
    { getItem: throws, setItem: throws },
    {},
    ...['', 'null', '[]', '7', '"x"', '{"a":5,"b":"","c":"<x>","d":null}', `{"a":"${'1'.repeat(129)}"}`].map(
      (text) => ({ getItem: () => text, setItem: throws }),
    ),
  ]) {
    const positions = new Positions(store);
    assert.equal(`${positions}`, '');
    positions.set('a', at(1));
    positions.save();
    assert.equal(positions.get('a'), at(1));
  }
});

test('positions are bounded: those that changed last are kept', () => {
  const positions = new Positions();
  positions.set('quiet', at(1));
  positions.set('busy', at(1));
  for (let i = 0; i < 300; i++) {
    positions.set(`room:${i}`, at(1));
    positions.set('busy', at(i));
  }
  assert.equal(Object.keys(positions.toJSON()).length, 256);
  assert.equal(positions.get('quiet'), undefined);
  assert.equal(positions.get('busy'), at(299));
});
