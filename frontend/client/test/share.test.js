import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { WebSocket } from 'ws';
import { Share } from '../share.js';
import { connect, heard, MODULE, settled, startClient, startHub, stopTheClock, until } from './hub.js';

const at = (offset) => `e1:${offset}-1790`;

/** navigator.locks, as far as it is used: exclusive, first come, first served. */
class Locks {
  #queues = new Map();

  request(name, ...rest) {
    const fn = rest.pop();
    const { signal } = rest.pop() ?? {};
    return new Promise((resolve, reject) => {
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      const turn = async () => {
        try {
          resolve(await fn());
        } catch (error) {
          reject(error);
        }
        queue.shift();
        queue[0]?.();
      };
      signal?.addEventListener('abort', () => {
        const waiting = queue.indexOf(turn);
        if (waiting > 0) queue.splice(waiting, 1);
        if (waiting !== 0) reject(signal.reason);
      });
      queue.push(turn);
      if (queue.length === 1) queueMicrotask(turn);
    });
  }
}

const fakes = {};
/** Puts something into the global scope until the test ends. */
function fake(name, value) {
  fakes[name] ??= Object.getOwnPropertyDescriptor(globalThis, name) ?? null;
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

let worker = 0;
/** A browser with SharedWorker: the module runs once more, as in a worker, with ports to the tabs. */
async function fakeWorkers() {
  fake('SharedWorkerGlobalScope', class {});
  fake('name', 'aldaba tabs');
  fake('WebSocket', WebSocket);
  fake('onconnect', undefined);
  await import(`${MODULE}?worker=${++worker}`);
  const { onconnect } = globalThis;
  fake(
    'SharedWorker',
    class {
      constructor(url, { name, type }) {
        assert.match(url, /\/aldaba(\.min)?\.js$/);
        assert.match(name, /^aldaba /);
        assert.equal(type, 'module');
        const { port1, port2 } = new MessageChannel();
        this.port = port1;
        onconnect({ ports: [port2] });
      }
    },
  );
}

beforeEach(() => fake('navigator', { locks: new Locks() }));
afterEach(() => {
  for (const [name, own] of Object.entries(fakes)) {
    if (own) Object.defineProperty(globalThis, name, own);
    else delete globalThis[name];
    delete fakes[name];
  }
});

/** A tab of a browser: a client that shares, and what it is told. */
function openTab(t, hub, options = {}) {
  const started = startClient(t, hub, { share: true, ...options });
  const told = [];
  const { client } = started;
  client.onMessage(({ channel, data }) => channel.startsWith('mark') || told.push(`${channel} ${data}`));
  client.onResync((channel) => told.push(`resync ${channel}`));
  client.onLeft((channel, reason) => told.push(`left ${channel} ${reason}`));
  return { told, ...started };
}

/** Resolves when the tab is told so much. */
async function tells(tab, count) {
  const deadline = Date.now() + 5000; // for a machine under load
  while (tab.told.length < count) {
    assert.ok(Date.now() < deadline, `told only ${tab.told}`);
    await settled();
  }
  return tab.told;
}

/** A store that says how far a tab has heard. */
const stored = (position, channel = 'a') => ({
  getItem: () => JSON.stringify({ [channel]: position }),
  setItem: () => {},
});

/** Resolves when whoever holds the connection has heard all that the tab has said. */
async function reaches({ client }, connection) {
  const published = client.publish('x', 1);
  const { id, type } = await connection.frame();
  assert.equal(type, 'publish');
  connection.send({ type: 'published', id });
  await published;
}

const code = (promise) =>
  promise.then(
    () => assert.fail('it did not reject'),
    (error) => error.code,
  );

for (const way of ['worker', 'leader']) {
  /** Two open tabs of one browser. */
  const openTabs = async (t, options, ...channels) => {
    if (way === 'worker') await fakeWorkers();
    const hub = await startHub(t);
    const one = openTab(t, hub, options);
    const connection = await hub.connection();
    connection.welcome(...channels);
    await until(one.client, 'open');
    const two = openTab(t, hub, options);
    await until(two.client, 'open');
    return { hub, connection, one, two };
  };

  test(`${way}: tabs share one connection, and each hears every message once`, async (t) => {
    const { hub, connection, one, two } = await openTabs(t, {}, 'user:42', {
      channel: 'a',
      position: at(1),
      unread: 3,
    });
    assert.equal(connection.token, 't1');
    for (const { client } of [one, two]) {
      assert.deepEqual(client.channels, ['user:42', 'a']);
      assert.equal(client.user, '42');
      assert.equal(client.session, 's1');
      assert.equal(client.unread('a'), 3);
    }
    connection.message('user:42', 1);
    connection.message('a', 2, at(2));
    connection.message('a', 2, at(2));
    connection.message('user:42', 3);
    for (const tab of [one, two]) assert.deepEqual(await tells(tab, 3), ['user:42 1', 'a 2', 'user:42 3']);
    assert.equal(two.client.unread('a'), 4);
    const late = openTab(t, hub);
    await until(late.client, 'open');
    assert.equal(late.client.unread('a'), 4);
    connection.message('user:42', 4);
    await tells(late, 1);
    assert.deepEqual(late.told, ['user:42 4']);
    assert.equal(hub.untaken, 0);
  });

  test(`${way}: each tab has its own channels, the connection has them all`, async (t) => {
    const { connection, one, two } = await openTabs(t, {}, 'user:42');
    const first = one.client.subscribe('room:1');
    assert.equal((await connection.join()).channel, 'room:1');
    await first;
    const both = two.client.subscribe('room:2');
    await connection.join();
    await both;
    await two.client.subscribe('room:1'); // joined already: the hub is not asked
    assert.deepEqual(one.client.channels, ['user:42', 'room:1']);
    assert.deepEqual(new Set(two.client.channels), new Set(['user:42', 'room:1', 'room:2']));
    connection.message('room:1', 'x');
    connection.message('room:2', 'y');
    assert.deepEqual(await tells(two, 2), ['room:1 x', 'room:2 y']);
    assert.deepEqual(one.told, ['room:1 x']);
    await one.client.unsubscribe('room:1');
    await one.client.unsubscribe('user:42');
    assert.deepEqual(one.client.channels, []);
    connection.message('room:1', 'z');
    assert.deepEqual((await tells(two, 3)).at(-1), 'room:1 z');
    assert.equal(connection.unread, 0);
    await two.client.unsubscribe('room:1');
    const { type, channel } = await connection.frame();
    assert.deepEqual([type, channel], ['unsubscribe', 'room:1']);
    assert.deepEqual(one.told, ['room:1 x', 'left room:1 unsubscribed', 'left user:42 unsubscribed']);
  });

  test(`${way}: a refused channel is refused to the tab that asked`, async (t) => {
    const { connection, one, two } = await openTabs(t, {});
    const refused = code(one.client.subscribe('room:1'));
    const { id } = await connection.frame();
    connection.send({ type: 'error', id, code: 'forbidden', message: 'no grant' });
    assert.equal(await refused, 'forbidden');
    assert.deepEqual(two.told, []);
    const again = one.client.subscribe('room:1');
    await connection.join();
    await again;
  });

  test(`${way}: a token that gains and loses channels is every tab's`, async (t) => {
    const { connection, one, two } = await openTabs(t, {}, 'a');
    connection.send({ type: 'left', channel: 'a', reason: 'revoked' });
    connection.send({ type: 'joined', channel: 'b' });
    connection.message('b', 1);
    for (const tab of [one, two]) {
      assert.deepEqual(await tells(tab, 2), ['left a revoked', 'b 1']);
      assert.deepEqual(tab.client.channels, ['b']);
    }
  });

  test(`${way}: commands go through, and reading shows in every tab`, async (t) => {
    const { connection, one, two } = await openTabs(t, {}, { channel: 'a', position: at(5), unread: 2 });
    const published = two.client.publish('a', { x: 1 });
    const { id, ...frame } = await connection.frame();
    assert.deepEqual(frame, { type: 'publish', channel: 'a', data: { x: 1 } });
    connection.send({ type: 'published', id });
    await published;
    const refused = code(one.client.history('a', { after: at(1) }));
    const asked = await connection.frame();
    connection.send({ type: 'error', id: asked.id, code: 'gone', message: 'too old' });
    assert.equal(await refused, 'gone');
    const page = two.client.history('a', { limit: 1 });
    const { id: pageId } = await connection.frame();
    connection.send({
      type: 'history',
      id: pageId,
      channel: 'a',
      messages: [{ position: at(5), data: 1 }],
      more: false,
    });
    assert.equal((await page).messages[0].position, at(5));
    const read = new Promise((resolve) => one.client.onRead((...args) => resolve(args)));
    const acked = two.client.ack('a');
    const ack = await connection.frame();
    assert.equal(ack.position, at(5));
    connection.send({ type: 'read', channel: 'a', position: at(5), unread: 0 }); // to each of the user's sessions
    connection.send({ type: 'acked', id: ack.id, channel: 'a', position: at(5), unread: 0 });
    assert.equal(await acked, 0);
    assert.deepEqual(await read, ['a', 0]);
  });

  test(`${way}: an ack that is answered late hides no message, in no tab`, async (t) => {
    const { connection, one, two } = await openTabs(t, {}, { channel: 'a', position: at(6), unread: 3 });
    const acked = two.client.ack('a');
    const { id } = await connection.frame();
    connection.send({ type: 'read', channel: 'a', position: at(6), unread: 0 });
    connection.message('a', 7, at(7));
    connection.send({ type: 'acked', id, channel: 'a', position: at(6), unread: 0 });
    connection.message('a', 8, at(8));
    await acked;
    for (const tab of [one, two]) {
      assert.deepEqual(await tells(tab, 2), ['a 7', 'a 8']);
      assert.equal(tab.client.unread('a'), 2);
    }
  });

  test(`${way}: a lost connection is told to every tab, and comes back for all`, async (t) => {
    const { hub, connection, one, two } = await openTabs(t, {}, { channel: 'a', position: at(1) }, 'plain');
    const joined = two.client.subscribe('room:1');
    await connection.join({ position: at(7) });
    await joined;
    const unanswered = code(two.client.publish('a', 1));
    await connection.frame();
    const waiting = [one, two].map(({ client }) => until(client, 'waiting'));
    connection.socket.terminate();
    for (const info of await Promise.all(waiting)) assert.equal(info.code, 1006);
    assert.equal(await unanswered, 'connection_lost');
    two.client.reconnect();
    const again = await hub.connection();
    assert.deepEqual((await again.frame()).positions, { a: at(1), 'room:1': at(7) });
    again.welcome({ channel: 'a', position: at(1), recovered: true }, 'plain');
    again.message('a', 2, at(2));
    await again.join({ position: at(7), recovered: true });
    again.message('room:1', 8, at(8));
    assert.deepEqual(await tells(one, 2), ['resync plain', 'a 2']);
    assert.deepEqual(await tells(two, 3), ['resync plain', 'a 2', 'room:1 8']);
    assert.equal(again.unread, 0);
  });

  test(`${way}: what the hub has ended is ended for all, until a tab comes back`, async (t) => {
    const { hub, connection, one, two } = await openTabs(t, {}, 'a');
    const closed = [one, two].map(({ client }) => until(client, 'closed'));
    connection.socket.close(4403, 'go away');
    for (const info of await Promise.all(closed)) assert.deepEqual(info, { code: 4403, reason: 'go away' });
    two.client.reconnect();
    (await hub.connection()).welcome('a');
    await until(two.client, 'open');
  });

  test(`${way}: a tab that has heard less hears the rest, or is told that it cannot`, async (t) => {
    const { hub, connection, one } = await openTabs(t, {}, { channel: 'a', position: at(1), unread: 1 });
    connection.message('a', 2, at(2));
    connection.message('a', 3, at(3));
    await tells(one, 2);
    const behind = openTab(t, hub, { store: stored(at(1)) });
    const level = openTab(t, hub, { store: stored(at(3)) });
    const further = openTab(t, hub, { store: stored(at(0)) });
    const { id: _, ...asked } = await connection.recall('gone');
    assert.deepEqual(asked, { type: 'history', channel: 'a', after: at(0), limit: 100 });
    for (const { client } of [behind, level, further]) await until(client, 'open');
    await tells(further, 1);
    connection.message('a', 4, at(4));
    assert.deepEqual(await tells(behind, 3), ['a 2', 'a 3', 'a 4']);
    assert.deepEqual(await tells(level, 1), ['a 4']);
    assert.deepEqual(await tells(further, 2), ['resync a', 'a 4']);
    for (const { client } of [one, behind, level, further]) assert.equal(client.unread('a'), 4);
  });

  test(`${way}: what is kept for tabs that come back outlives a reconnect that lost nothing, and no other`, async (t) => {
    const { hub, connection, one, two } = await openTabs(t, {}, { channel: 'a', position: at(1) });
    connection.message('a', 2, at(2));
    await tells(one, 1);
    const lost = async (last) => {
      const waiting = until(one.client, 'waiting');
      last.socket.terminate();
      await waiting;
      two.client.reconnect();
      return hub.connection();
    };
    const again = await lost(connection);
    again.welcome({ channel: 'a', position: at(2), recovered: true });
    again.message('a', 3, at(3));
    await tells(one, 2);
    const behind = openTab(t, hub, { store: stored(at(1)) });
    assert.deepEqual(await tells(behind, 2), ['a 2', 'a 3']);
    const third = await lost(again);
    await third.frame(); // where it resumes
    third.welcome({ channel: 'a', position: at(9), recovered: false });
    await tells(one, 3);
    const late = openTab(t, hub, { store: stored(at(2)) });
    await third.recall('gone');
    await tells(late, 1);
    third.message('a', 10, at(10));
    assert.deepEqual(await tells(late, 2), ['resync a', 'a 10']);
    third.send({ type: 'resync', channel: 'a', position: at(20) });
    third.message('a', 21, at(21));
    await tells(one, 6);
    const later = openTab(t, hub, { store: stored(at(10)) });
    const after = openTab(t, hub, { store: stored(at(20)) });
    await third.recall('gone');
    assert.deepEqual(await tells(later, 1), ['resync a']);
    assert.deepEqual(await tells(after, 1), ['a 21']);
  });

  test(`${way}: what is kept for tabs that come back is bounded`, async (t) => {
    const { hub, connection, one } = await openTabs(t, {}, { channel: 'a', position: at(0) });
    for (let offset = 1; offset <= 101; offset++) connection.message('a', offset, at(offset));
    await tells(one, 101);
    const tab = openTab(t, hub, { store: stored(at(2)) });
    assert.equal((await tells(tab, 99))[0], 'a 3');
    const late = openTab(t, hub, { store: stored(at(1)) });
    await connection.recall('gone');
    assert.deepEqual(await tells(late, 1), ['resync a']);
  });

  test(`${way}: what is kept no more, the hub is asked for`, async (t) => {
    const a = (first, last) => Array.from({ length: last - first + 1 }, (_, n) => `a ${first + n}`);
    const { hub, connection, one } = await openTabs(t, {}, { channel: 'a', position: at(7), unread: 1 }, 'b');
    const late = openTab(t, hub, { store: stored(at(1)) });
    const later = openTab(t, hub, { store: stored(at(3)) });
    for (const { client } of [late, later]) await until(client, 'open');
    assert.deepEqual(late.client.channels, ['b']); // it need not wait for the other
    connection.message('b', 1);
    connection.message('a', 8, at(8)); // read from the log before this, the answer lacks it
    assert.equal((await connection.recall(2, 3, 4)).after, at(1));
    assert.equal((await connection.recall(5, 6, 7)).after, at(4));
    assert.deepEqual(await tells(late, 8), ['b 1', ...a(2, 8)]);
    assert.deepEqual(await tells(later, 6), ['b 1', ...a(4, 8)]); // what the other needed, too
    const farther = openTab(t, hub, { store: stored(at(0)) });
    assert.equal((await connection.recall(1, 2, 3, 4, 5, 6, 7, 8, 9)).after, at(0)); // ahead of what was sent
    assert.deepEqual(await tells(farther, 8), a(1, 8));
    connection.message('a', 9, at(9));
    connection.message('a', 10, at(10));
    assert.deepEqual(await tells(one, 4), ['b 1', ...a(8, 10)]);
    assert.deepEqual(await tells(late, 10), ['b 1', ...a(2, 10)]);
    assert.deepEqual(await tells(later, 8), ['b 1', ...a(4, 10)]);
    assert.deepEqual(await tells(farther, 10), a(1, 10));
    for (const { client } of [one, late, later, farther]) assert.equal(client.unread('a'), 4);
    assert.deepEqual(await tells(openTab(t, hub, { store: stored(at(2)) }), 8), a(3, 10)); // now it is kept
    assert.equal(connection.unread, 0);
  });

  test(`${way}: the hub is asked for one thing at a time, and again when that was too often`, async (t) => {
    const channels = ['a', 'b', 'c'];
    const { hub, connection } = await openTabs(
      t,
      {},
      ...channels.map((channel) => ({ channel, position: at(3) })),
    );
    const positions = Object.fromEntries(channels.map((channel) => [channel, at(1)]));
    const store = { getItem: () => JSON.stringify(positions), setItem: () => {} };
    const late = openTab(t, hub, { store });
    await until(late.client, 'open');
    for (const channel of channels) {
      for (const offset of [2, 3]) {
        assert.equal((await connection.recall('rate_limited', 0.01)).channel, channel);
        assert.equal(connection.unread, 0);
        assert.equal((await connection.recall(offset)).after, at(offset - 1));
      }
    }
    assert.deepEqual(await tells(late, 6), ['a 2', 'a 3', 'b 2', 'b 3', 'c 2', 'c 3']);
  });

  test(`${way}: a hub that cannot answer now is not waited for`, async (t) => {
    const { hub, connection } = await openTabs(t, {}, { channel: 'a', position: at(3) });
    const late = openTab(t, hub, { store: stored(at(1)) });
    await connection.recall('unavailable', 1);
    assert.deepEqual(await tells(late, 1), ['resync a']);
  });

  test(`${way}: a channel that is asked for while it is being left is joined again`, async (t) => {
    const { connection, one, two } = await openTabs(t, {});
    const first = two.client.subscribe('room');
    await connection.join({ position: at(7) });
    await first;
    await two.client.unsubscribe('room');
    const { id, type } = await connection.frame();
    assert.equal(type, 'unsubscribe');
    const again = one.client.subscribe('room');
    await reaches(one, connection);
    connection.message('room', 8, at(8)); // the hub had not heard of it yet
    assert.deepEqual(one.client.channels, []);
    connection.send({ type: 'left', id, channel: 'room', reason: 'unsubscribed' });
    assert.equal((await connection.join({ position: at(9) })).type, 'subscribe');
    await again;
    connection.message('room', 10, at(10));
    assert.deepEqual(await tells(one, 1), ['room 10']);
    assert.deepEqual(two.told, ['left room unsubscribed']);
  });

  test(`${way}: a tab that asks for what the last one leaves has all that comes after, or is told`, async (t) => {
    const { hub, connection, one, two } = await openTabs(t, {});
    const first = two.client.subscribe('room');
    await connection.join({ position: at(7) });
    await first;
    two.client.close();
    const { id } = await connection.frame();
    const late = openTab(t, hub, { store: stored(at(6), 'room') });
    await until(late.client, 'open');
    const again = Promise.all([one, late].map(({ client }) => client.subscribe('room')));
    for (const tab of [one, late]) await reaches(tab, connection);
    connection.message('room', 8, at(8));
    connection.send({ type: 'left', id, channel: 'room', reason: 'unsubscribed' });
    await connection.join({ position: at(9) });
    await connection.recall(7, 8, 9);
    await again;
    connection.message('room', 10, at(10));
    assert.deepEqual(await tells(one, 1), ['room 10']);
    assert.deepEqual(await tells(late, 4), ['room 7', 'room 8', 'room 9', 'room 10']);
  });

  test(`${way}: a tab that has heard less than the one before it is caught up, when the connection begins, too`, async (t) => {
    if (way === 'worker') await fakeWorkers();
    const hub = await startHub(t);
    const one = openTab(t, hub);
    const connection = await hub.connection();
    const late = openTab(t, hub, { store: stored(at(1)) });
    await until(late.client, 'connecting');
    connection.welcome({ channel: 'a', position: at(3) });
    await connection.recall(2, 3);
    connection.message('a', 4, at(4));
    assert.deepEqual(await tells(late, 3), ['a 2', 'a 3', 'a 4']);
    assert.deepEqual(await tells(one, 1), ['a 4']);
  });

  test(`${way}: a tab that changes its mind twice waits for nobody`, { timeout: 10_000 }, async (t) => {
    const { connection, two } = await openTabs(t, {});
    const tick = stopTheClock(t); // of 15 seconds, after which an answer is waited for no more
    const first = code(two.client.subscribe('room'));
    const left = two.client.unsubscribe('room');
    let joined = false;
    const again = two.client.subscribe('room').then(() => {
      joined = true;
    });
    assert.equal(await first, 'unsubscribed');
    for (let passed = 0; passed < 5000 && !joined; passed += 60) {
      if (connection.unread) {
        const { id, type, channel } = await connection.frame();
        if (type === 'subscribe') connection.send({ type: 'joined', id, channel });
        else connection.send({ type: 'left', id, channel, reason: 'unsubscribed' });
      }
      await settled();
      tick(60);
    }
    await Promise.all([left, again]);
  });

  test(`${way}: a tab that has heard more than the connection counts what is unread as all do`, async (t) => {
    if (way === 'worker') await fakeWorkers();
    const hub = await startHub(t);
    const one = openTab(t, hub, { store: stored(at(5)) });
    const connection = await hub.connection();
    await connection.frame();
    connection.welcome({ channel: 'a', position: at(5), recovered: true, unread: 2 });
    await until(one.client, 'open');
    const ahead = openTab(t, hub, { store: stored(at(7)) });
    await until(ahead.client, 'open');
    for (const offset of [6, 7, 8]) connection.message('a', offset, at(offset));
    assert.deepEqual(await tells(one, 3), ['a 6', 'a 7', 'a 8']);
    assert.deepEqual(await tells(ahead, 1), ['a 8']);
    for (const { client } of [one, ahead]) assert.equal(client.unread('a'), 5);
  });

  test(`${way}: what a tab no longer wants while there is no connection is not asked for again`, async (t) => {
    const { hub, connection, one, two } = await openTabs(t, {});
    for (const channel of ['room:1', 'room:2']) {
      const joined = two.client.subscribe(channel);
      await connection.join({ position: at(7) });
      await joined;
    }
    const waiting = until(two.client, 'waiting');
    connection.socket.terminate();
    await waiting;
    await two.client.unsubscribe('room:1');
    one.client.reconnect();
    const again = await hub.connection();
    assert.deepEqual((await again.frame()).positions, { 'room:2': at(7) });
    again.welcome();
    assert.equal((await again.join({ position: at(7), recovered: true })).channel, 'room:2');
    await until(two.client, 'open');
    await settled();
    assert.equal(again.unread, 0);
    assert.deepEqual(two.told, []);
  });

  test(`${way}: a tab that is seen wakes the connection, though who holds it is not seen`, async (t) => {
    fake('document', {
      visibilityState: 'hidden',
      addEventListener: () => {},
      removeEventListener: () => {},
    });
    const { hub, connection, two } = await openTabs(t, {}, 'a');
    stopTheClock(t); // no back-off ends
    const waiting = until(two.client, 'waiting');
    connection.socket.terminate();
    await waiting;
    two.client.reconnect();
    const again = await hub.connection();
    again.welcome('a');
    await until(two.client, 'open');
  });

  test(`${way}: a tab that waits for the hub is told when it goes, and asks the next`, async (t) => {
    const { hub, connection, one } = await openTabs(t, {}, { channel: 'a', position: at(7) });
    const late = openTab(t, hub, { store: stored(at(1)) });
    await until(late.client, 'open');
    await connection.frame();
    const waiting = until(late.client, 'waiting');
    connection.socket.terminate();
    await waiting;
    one.client.reconnect();
    const again = await hub.connection();
    assert.deepEqual((await again.frame()).positions, { a: at(7) });
    again.welcome({ channel: 'a', position: at(7), recovered: true });
    await again.recall(2, 3, 4, 5, 6, 7);
    assert.deepEqual(await tells(late, 6), ['a 2', 'a 3', 'a 4', 'a 5', 'a 6', 'a 7']);
    assert.deepEqual(one.told, []);
  });

  test(`${way}: a channel that is left while the hub is asked is not joined`, async (t) => {
    const { hub, connection } = await openTabs(t, {}, { channel: 'a', position: at(7) }, 'b');
    const late = openTab(t, hub, { store: stored(at(1)) });
    await until(late.client, 'open');
    connection.send({ type: 'left', channel: 'a', reason: 'revoked' });
    await connection.recall(2, 3, 4, 5, 6, 7);
    connection.message('b', 1);
    assert.deepEqual(await tells(late, 1), ['b 1']);
    assert.deepEqual(late.client.channels, ['b']);
  });

  test(`${way}: over server-sent events what is kept no more is lost, and told`, async (t) => {
    if (way === 'worker') await fakeWorkers();
    fake('WebSocket', undefined);
    const hub = await startHub(t);
    const one = openTab(t, hub, { WebSocket: undefined });
    (await hub.stream()).welcome({ channel: 'a', position: at(7) });
    await until(one.client, 'open');
    const late = openTab(t, hub, { WebSocket: undefined, store: stored(at(1)) });
    assert.deepEqual(await tells(late, 1), ['resync a']);
  });

  test(`${way}: over server-sent events, too, each tab has its own channels`, async (t) => {
    if (way === 'worker') await fakeWorkers();
    fake('WebSocket', undefined);
    const hub = await startHub(t);
    const one = openTab(t, hub, { WebSocket: undefined });
    (await hub.stream()).welcome('user:42');
    const two = openTab(t, hub, { WebSocket: undefined });
    for (const { client } of [one, two]) await until(client, 'open');
    const joined = two.client.subscribe('room:1');
    const stream = await hub.stream();
    assert.deepEqual(stream.channels, ['room:1']);
    stream.welcome('user:42', 'room:1');
    await joined;
    stream.message('room:1', 'x');
    stream.message('user:42', 1);
    assert.deepEqual((await tells(two, 3)).slice(1), ['room:1 x', 'user:42 1']);
    assert.deepEqual((await tells(one, 2)).slice(1), ['user:42 1']);
    assert.deepEqual(one.client.channels, ['user:42']);
    await two.client.unsubscribe('room:1');
    assert.deepEqual((await hub.stream()).channels, []);
  });

  test(`${way}: the hub's resync reaches the tabs of that channel`, async (t) => {
    const { connection, one, two } = await openTabs(t, {}, { channel: 'a', position: at(1) });
    connection.send({ type: 'resync', channel: 'a', position: at(9) });
    connection.message('a', 10, at(10));
    for (const tab of [one, two]) assert.deepEqual(await tells(tab, 2), ['resync a', 'a 10']);
  });

  test(`${way}: one tab at a time is asked for a token`, async (t) => {
    let count = 0;
    const { connection, one } = await openTabs(t, { getToken: () => `t${++count}` }, 'a');
    assert.equal(count, 1);
    connection.send({ type: 'expiring', expires_at: 1 });
    const { type, token, id } = await connection.frame();
    assert.deepEqual([type, token], ['refresh', 't2']);
    connection.send({ type: 'refreshed', id, expires_at: 2 });
    connection.message('a', 1);
    await tells(one, 1);
    assert.equal(count, 2);
  });

  test(`${way}: what getToken throws reaches the page`, async (t) => {
    if (way === 'worker') await fakeWorkers();
    const hub = await startHub(t);
    const getToken = () => {
      throw Object.assign(new Error('logged out'), { fatal: true });
    };
    const { client, error } = openTab(t, hub, { getToken });
    assert.equal((await error()).message, 'logged out');
    assert.deepEqual(await until(client, 'closed'), { code: 4401, reason: 'logged out' });
  });

  test(`${way}: a tab that asks for the token and is closed is replaced by another`, async (t) => {
    if (way === 'worker') await fakeWorkers();
    const hub = await startHub(t);
    let asked;
    const silent = new Promise((resolve) => {
      asked = resolve;
    });
    const one = openTab(t, hub, { getToken: () => new Promise(() => asked()) });
    await silent;
    const two = openTab(t, hub);
    await until(two.client, 'connecting');
    await settled();
    one.client.close();
    const connection = await hub.connection();
    assert.equal(connection.token, 't1');
    connection.welcome('a');
    await until(two.client, 'open');
  });

  test(`${way}: in cookie mode no tab is asked`, async (t) => {
    const { connection } = await openTabs(t, { getToken: undefined }, 'a');
    assert.equal(connection.token, undefined);
  });
}

test('worker: the last tab ends the connection', async (t) => {
  await fakeWorkers();
  const hub = await startHub(t);
  const one = openTab(t, hub);
  const connection = await hub.connection();
  connection.welcome('a');
  await until(one.client, 'open');
  const two = openTab(t, hub);
  await until(two.client, 'open');
  one.client.close();
  connection.message('a', 1);
  await tells(two, 1);
  two.client.close();
  assert.equal(await connection.closed(), 1000);
});

test('leader: a name is a connection of its own', async (t) => {
  const hub = await startHub(t);
  openTab(t, hub);
  await hub.connection();
  openTab(t, hub, { share: 'another' });
  await hub.connection();
  openTab(t, hub, { share: 'another' });
  await settled();
  assert.equal(hub.untaken, 0);
});

test('a leader that closes is followed by a tab that resumes where it was', async (t) => {
  const hub = await startHub(t);
  const one = openTab(t, hub);
  const connection = await hub.connection();
  connection.welcome({ channel: 'a', position: at(1) }, 'plain');
  const two = openTab(t, hub);
  const three = openTab(t, hub);
  const joined = three.client.subscribe('room:1');
  await connection.join({ position: at(7) });
  await joined;
  connection.message('a', 2, at(2));
  await tells(two, 1);
  await tells(three, 1);
  one.client.close();
  assert.equal(await connection.closed(), 1000);
  const again = await hub.connection();
  assert.deepEqual(await again.frame(), { type: 'resume', positions: { a: at(2) } });
  again.welcome({ channel: 'a', position: at(2), recovered: true }, 'plain');
  again.message('a', 3, at(3));
  assert.equal((await again.join({ position: at(7), recovered: true })).position, at(7));
  again.message('room:1', 8, at(8));
  assert.deepEqual(await tells(two, 3), ['a 2', 'resync plain', 'a 3']);
  assert.deepEqual(await tells(three, 4), ['a 2', 'resync plain', 'a 3', 'room:1 8']);
  assert.equal(hub.untaken, 0);
});

test('a tab that greets twice is asked for its token once, and its answer counts', async () => {
  const made = [];
  const share = new Share((options) => {
    made.push(options.getToken());
    const off = () => {};
    return {
      state: 'connecting',
      channels: [],
      onState: off,
      onLeft: off,
      onResync: off,
      onError: off,
      close: off,
    };
  });
  const asked = [];
  const greeting = { type: 'resume', positions: {}, token: true };
  for (let time = 0; time < 2; time++)
    share.take('tab', (frame) => frame && asked.push(frame.type), greeting);
  share.take('tab', () => {}, { type: 'token', token: 't1' });
  assert.equal(await made[0], 't1');
  assert.deepEqual(asked, ['token']);
});

test('a tab that greets twice while the hub is asked for it hears all that comes after', async (t) => {
  const hub = await startHub(t);
  const one = openTab(t, hub);
  const connection = await hub.connection();
  connection.welcome({ channel: 'a', position: at(7) }, 'b');
  await until(one.client, 'open');
  const late = openTab(t, hub, { store: stored(at(1)) });
  await until(late.client, 'open');
  const { id } = await connection.frame();
  const lead = new BroadcastChannel(`aldaba true ${hub.url}`);
  t.after(() => lead.close());
  const greeted = until(late.client, 'connecting');
  lead.postMessage({ lead: true });
  await greeted;
  await until(late.client, 'open');
  connection.send({ type: 'error', id, code: 'gone', message: 'too old' });
  await tells(late, 2);
  connection.message('a', 8, at(8));
  connection.message('a', 9, at(9));
  assert.deepEqual(await tells(late, 4), ['resync b', 'resync a', 'a 8', 'a 9']);
});

test('where nothing tells that a tab is gone, each has a connection of its own', async (t) => {
  await fakeWorkers();
  fake('navigator', {});
  const hub = await startHub(t);
  const one = openTab(t, hub);
  const two = openTab(t, hub);
  for (const tab of [one, two]) {
    const connection = await hub.connection();
    connection.welcome('a');
    await until(tab.client, 'open');
    await heard(tab.client, connection);
  }
});

// These two give up ways of sharing, for as long as the module lives: they come last.

test('a worker that cannot be made leaves it to the tabs', async (t) => {
  fake(
    'SharedWorker',
    class {
      constructor() {
        throw new Error('of another origin');
      }
    },
  );
  const hub = await startHub(t);
  const tabs = [1, 2].map(() => connect({ url: hub.url, WebSocket, share: true, getToken: () => 't' }));
  t.after(() => tabs.map((tab) => tab.close()));
  const connection = await hub.connection();
  connection.welcome('a');
  await Promise.all(tabs.map((tab) => until(tab, 'open')));
  assert.equal(hub.untaken, 0);
});

test('a tab does without a leader that does not answer', async (t) => {
  const hub = await startHub(t);
  const frozen = new Promise((resolve) => t.after(resolve));
  navigator.locks.request(`aldaba true ${hub.url}`, () => frozen);
  const tick = stopTheClock(t);
  const client = connect({ url: hub.url, WebSocket, share: true, getToken: () => 't' });
  t.after(() => client.close());
  await settled();
  tick(15_000);
  assert.equal(client.state, 'waiting');
  tick(1_000);
  const connection = await hub.connection();
  connection.welcome('a');
  await until(client, 'open');
});
