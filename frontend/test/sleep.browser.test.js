// Tabs that share one connection, in Chromium, against `aldaba serve`: whoever holds the connection goes to sleep.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startChromium } from '../test-support/devtools.js';
import { Replicas } from '../test-support/replicas.js';

const QUIET = 12_000; // milliseconds; long before a tab would notice by itself that it hears nothing

/**
 * A browser of user 42 that may have no SharedWorker, and the hub that its pages come from.
 * @param {import('node:test').TestContext} t
 * @param {boolean} lacks
 */
async function visit(t, lacks) {
  const hub = await Replicas.create();
  t.after(() => hub.remove());
  await hub.start();
  const chromium = await startChromium(t);
  const { name, value } = hub.cookie('42');
  let count = 0;
  return {
    /** Publishes the next number. */
    publish: () => hub.redis('fcall', 'aldaba_publish', '1', 'user:42', String(++count)),
    /** A tab that is connected, and notes every message. */
    async open() {
      const tab = await chromium.open();
      await tab.ask('Network.setCookie', { name, value, url: hub.url });
      await tab.go(`${hub.url}/aldaba.js`); // a page that may be cached
      await tab.evaluate(`(async () => {
        if (${lacks}) delete globalThis.SharedWorker;
        const { connect } = await import('/aldaba.js');
        globalThis.told = [];
        globalThis.client = connect({ share: true, store: 'mine' });
        client.onMessage(({ data }) => told.push(data));
        client.onResync(() => told.push('resync'));
        document.addEventListener('freeze', () => { globalThis.slept = true; });
        addEventListener('pageshow', (event) => { globalThis.slept = event.persisted; });
      })()`);
      await tab.until(`client.state === 'open'`);
      return tab;
    },
    /** A page of the same site that does not connect. */
    other: `${hub.url}/healthz`,
  };
}

/** @typedef {Awaited<ReturnType<Awaited<ReturnType<typeof startChromium>>['open']>>} Tab */

/** @param {Tab} tab @param {number} last */
async function hasHeardAll(tab, last) {
  await tab.until(`told.includes(${last})`);
  assert.deepEqual(
    await tab.evaluate('told'),
    Array.from({ length: last }, (_, n) => n + 1),
  );
}

for (const [way, lacks] of /** @type {[string, boolean][]} */ ([
  ['SharedWorker', false],
  ['BroadcastChannel', true],
])) {
  test(`${way}: a tab that the browser freezes costs the others nothing, and misses nothing`, async (t) => {
    const { publish, open } = await visit(t, lacks);
    const sleeps = await open();
    const stays = await open();
    await stays.show();
    await publish();
    await sleeps.until('told.length === 1');
    await sleeps.become('frozen');
    await publish();
    await stays.until('told.length === 2', QUIET);
    const late = await open();
    await publish();
    await late.until('told.at(-1) === 3', QUIET);
    await sleeps.become('active');
    await publish();
    for (const tab of [sleeps, stays]) await hasHeardAll(tab, 4);
    assert.equal(await sleeps.evaluate('slept'), true);
  });

  test(`${way}: a tab in the back/forward cache costs the others nothing, and misses nothing`, async (t) => {
    const { publish, open, other } = await visit(t, lacks);
    const leaves = await open();
    const stays = await open();
    await publish();
    await leaves.until('told.length === 1');
    await leaves.go(other);
    await publish();
    await stays.until('told.length === 2', QUIET);
    await leaves.evaluate('history.back()').catch(() => {}); // the page that would answer is gone
    await leaves.until('slept'); // it has not been loaded anew
    await publish();
    for (const tab of [leaves, stays]) await hasHeardAll(tab, 3);
  });
}
