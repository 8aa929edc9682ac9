import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heard, settled, startClient, startHub, stopTheClock, until } from './hub.js';

const at = (offset) => `e1:${offset}-1790`;

/** A page whose `fetches` end when the test says so. */
async function openPage(t, options, ...channels) {
  const hub = await startHub(t);
  const started = startClient(t, hub, options);
  const connection = await hub.connection();
  connection.welcome(...channels);
  const { client } = started;
  await until(client, 'open');
  const told = [];
  client.on('a', (data) => told.push(data));
  client.on('b', (data) => told.push(`b ${data}`));
  const fetches = [];
  const off = client.onResync('a', (channel) => {
    told.push(`fetch ${channel}`);
    return new Promise((resolve, reject) => fetches.push({ resolve, reject }));
  });
  const resync = (position) => connection.send({ type: 'resync', channel: 'a', position });
  const say = async (...items) => {
    for (const data of items) connection.message('a', data);
    await heard(client, connection);
  };
  return { hub, connection, told, fetches, off, resync, say, ...started };
}

test('messages wait for the state to be fetched, and come in order; other channels do not wait', async (t) => {
  const { client, connection, told, fetches, resync, say } = await openPage(t, {}, 'a', 'b');
  const all = [];
  client.onMessage(({ channel, data }) => channel === 'a' && all.push(data));
  await say(1);
  resync();
  connection.message('b', 1);
  await say(2, 3);
  assert.deepEqual(told, [1, 'fetch a', 'b 1']);
  fetches[0].resolve();
  await settled();
  assert.deepEqual(told, [1, 'fetch a', 'b 1', 2, 3]);
  assert.deepEqual(all, [1, 2, 3]);
  await say(4);
  assert.equal(told.at(-1), 4);
});

test('a gap while fetching has it fetched once more, and only then delivered', async (t) => {
  const { told, fetches, resync, say } = await openPage(t, {}, 'a');
  resync();
  await say(1);
  resync();
  await say(2);
  assert.equal(fetches.length, 1);
  fetches[0].resolve();
  await settled();
  assert.deepEqual(told, ['fetch a', 'fetch a']);
  fetches[1].resolve();
  await settled();
  assert.deepEqual(told.slice(2), [1, 2]);
});

test('a fetch that fails or throws is reported and tried again, ever more slowly', async (t) => {
  const tick = stopTheClock(t);
  t.mock.method(Math, 'random', () => 0.999999);
  const { client, told, fetches, resync, say, error } = await openPage(t, {}, 'a');
  let broken = true;
  client.onResync('a', () => {
    if (broken) throw new Error('broken');
  });
  resync();
  await say(1);
  assert.equal((await error()).message, 'broken');
  tick(998);
  assert.equal(fetches.length, 1);
  broken = false;
  tick(1);
  await settled();
  fetches[1].reject(new Error('away'));
  assert.equal((await error()).message, 'away');
  await settled();
  tick(1999);
  await settled();
  assert.equal(fetches.length, 3);
  assert.equal(told.includes(1), false);
  fetches[2].resolve();
  await settled();
  assert.equal(told.at(-1), 1);
});

test('what is held back is bounded: beyond it the state is fetched once more', async (t) => {
  const { told, fetches, resync, say } = await openPage(t, {}, 'a');
  resync();
  await say(...Array.from({ length: 1001 }, (_, i) => i), 'last');
  fetches[0].resolve();
  await settled();
  assert.equal(fetches.length, 2);
  fetches[1].resolve();
  await settled();
  assert.deepEqual(told, ['fetch a', 'fetch a', 'last']);
});

test('a reconnect that recovers fetches nothing, one that does not fetches once', async (t) => {
  t.mock.method(Math, 'random', () => 0);
  const { hub, client, connection, told, fetches } = await openPage(t, {}, { channel: 'a', position: at(1) });
  connection.socket.terminate();
  const second = await hub.connection();
  await second.frame();
  second.welcome({ channel: 'a', position: at(1), recovered: true });
  second.message('a', 2, at(2));
  await heard(client, second);
  assert.deepEqual(told, [2]);
  second.socket.terminate();
  const third = await hub.connection();
  await third.frame();
  third.welcome({ channel: 'a', position: at(9), recovered: false });
  third.message('a', 10, at(10));
  await heard(client, third);
  third.socket.terminate(); // while fetching: what is held stays held
  const fourth = await hub.connection();
  assert.deepEqual((await fourth.frame()).positions, { a: at(10) });
  fourth.welcome({ channel: 'a', position: at(10), recovered: true });
  fourth.message('a', 11, at(11));
  await heard(client, fourth);
  assert.equal(fetches.length, 1);
  fetches[0].resolve();
  await settled();
  assert.deepEqual(told, [2, 'fetch a', 10, 11]);
});

test('a channel that is left meanwhile delivers nothing more', async (t) => {
  const { client, connection, told, fetches, resync, say } = await openPage(t, {}, 'a');
  resync();
  await say(1);
  connection.send({ type: 'left', channel: 'a', reason: 'revoked' });
  await heard(client, connection);
  fetches[0].resolve();
  await settled();
  assert.deepEqual(told, ['fetch a']);
});

test('without anyone to fetch, nothing is held', async (t) => {
  const { told, off, resync, say } = await openPage(t, {}, 'a');
  off();
  off();
  resync();
  await say(1);
  assert.deepEqual(told, [1]);
});

test('closed while fetching: the gap is told again after the next connect, and after a reload', async (t) => {
  const kept = {};
  const store = {
    getItem: (key) => kept[key] ?? null,
    setItem: (key, value) => {
      kept[key] = value;
    },
  };
  const page = await openPage(t, { store }, { channel: 'a', position: at(1) });
  page.resync(at(5));
  page.connection.message('a', 6, at(6));
  await heard(page.client, page.connection);
  page.client.close();
  assert.deepEqual(JSON.parse(kept.aldaba), { a: at(1) });
  page.fetches[0].resolve();
  await settled();
  assert.deepEqual(page.told, ['fetch a']);
  page.client.reconnect();
  const again = await page.hub.connection();
  assert.deepEqual((await again.frame()).positions, { a: at(1) });
  again.welcome({ channel: 'a', position: at(6), recovered: false });
  await heard(page.client, again);
  assert.equal(page.fetches.length, 2);
});

test('only a string names a channel here too', async (t) => {
  const { client } = await openPage(t, {}, 'a');
  for (const channel of [5, '', null, undefined])
    assert.throws(() => client.onResync(channel, () => {}), TypeError);
});
