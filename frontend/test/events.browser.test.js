// Server-sent events in Chromium, by the browser's own EventSource and by the client, against replicas of `aldaba serve`
// on a real Redis.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { findChromium } from '../test-support/chromium.js';
import { Replicas } from '../test-support/replicas.js';

/** @type {import('playwright-core').Browser} */
let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: findChromium(),
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
});
after(() => browser.close());

/** Opens a page whose EventSource notes what it is told. @param {import('node:test').TestContext} t @param {Replicas} hub */
async function listen(t, hub) {
  const context = await browser.newContext();
  t.after(() => context.close());
  await context.addCookies([hub.cookie('42')]);
  const page = await context.newPage();
  await page.goto(`${hub.url}/healthz`);
  await page.evaluate(() => {
    /** @type {any[]} */
    const told = [];
    const source = new EventSource('/sse');
    source.onmessage = ({ data }) => told.push(JSON.parse(data));
    Object.assign(globalThis, { source, told });
  });
  return page;
}

/** The welcomes, once there are so many. @param {import('playwright-core').Page} page @param {number} count */
async function welcomes(page, count) {
  const all = () =>
    /** @type {any} */ (globalThis).told.filter((/** @type {any} */ f) => f.type === 'welcome');
  await page.waitForFunction(
    (wanted) =>
      /** @type {any} */ (globalThis).told.filter((/** @type {any} */ f) => f.type === 'welcome').length >=
      wanted,
    count,
  );
  return page.evaluate(all);
}

/** Everything that was heard, once the last of it has come. @param {import('playwright-core').Page} page @param {number} last */
async function heard(page, last) {
  await page.waitForFunction(
    (wanted) => /** @type {any} */ (globalThis).told.some((/** @type {any} */ f) => f.data === wanted),
    last,
  );
  return page.evaluate(() =>
    /** @type {any} */ (globalThis).told
      .filter((/** @type {any} */ f) => f.type === 'message')
      .map((/** @type {any} */ f) => f.data),
  );
}

test('a stock EventSource goes on where it was when its replica dies, on another one and on a new one', async (t) => {
  const hub = await Replicas.create();
  t.after(() => hub.remove());
  const first = await hub.start();
  const second = await hub.start();
  await hub.standsBy();
  const page = await listen(t, hub);
  let count = 0;
  const publish = async (/** @type {number} */ more) => {
    for (let n = 0; n < more; n++) await hub.redis('publish', 'user:42', String(++count));
  };
  const all = () => Array.from({ length: count }, (_, n) => n + 1);

  const [begun] = await welcomes(page, 1);
  assert.equal(begun.user, '42');
  await publish(10);
  assert.deepEqual(await heard(page, count), all());

  await first.kill(); // that records, too: the other one takes over
  await publish(10);
  const [, onAnother] = await welcomes(page, 2);
  assert.equal(onAnother.channels[0].recovered, true);
  assert.notEqual(onAnother.session, begun.session);
  await publish(1);
  assert.deepEqual(await heard(page, count), all());

  await second.kill();
  // Nobody is left who records a plain PUBLISH, but the function that the replicas have installed is still there.
  for (let n = 0; n < 10; n++) await hub.redis('fcall', 'aldaba_publish', '1', 'user:42', String(++count));
  await hub.start();
  const [, , onNew] = await welcomes(page, 3);
  assert.equal(onNew.channels[0].recovered, true);
  assert.deepEqual(await heard(page, count), all());
  const types = await page.evaluate(() => [
    ...new Set(/** @type {any} */ (globalThis).told.map((/** @type {any} */ f) => f.type)),
  ]);
  assert.deepEqual(types, ['welcome', 'message'], 'no resync, and no close: the replicas were killed');
});

test('where no WebSocket gets through, the client goes on over events when its replica dies, and after a reload', async (t) => {
  const hub = await Replicas.create();
  t.after(() => hub.remove());
  const first = await hub.start();
  await hub.start();
  const context = await browser.newContext();
  t.after(() => context.close());
  await context.addCookies([hub.cookie('42')]);
  await context.addInitScript(() => {
    // As behind a proxy that does not know the upgrade: made, and never open.
    globalThis.WebSocket = /** @type {any} */ (
      class {
        constructor() {
          setTimeout(() => /** @type {any} */ (this).onclose?.({ code: 1006, reason: '' }));
        }
        close() {}
      }
    );
  });
  const page = await context.newPage();
  const join = async () => {
    await page.goto(`${hub.url}/healthz`);
    await page.evaluate(async () => {
      const { connect } = await import(/** @type {any} */ ('/aldaba.js'));
      /** @type {any[]} */
      const told = [];
      const client = connect({ store: 'mine' });
      client.onMessage((/** @type {any} */ { data }) => told.push({ type: 'message', data }));
      client.onResync(() => told.push({ type: 'message', data: 'resync' }));
      Object.assign(globalThis, { client, told });
    });
  };
  const open = () => page.waitForFunction(() => /** @type {any} */ (globalThis).client.state === 'open');
  const publish = async (/** @type {number[]} */ ...numbers) => {
    for (const n of numbers) await hub.redis('fcall', 'aldaba_publish', '1', 'user:42', String(n));
  };
  await join();
  await open();
  await publish(1, 2);
  assert.deepEqual(await heard(page, 2), [1, 2]);
  await first.kill();
  await publish(3, 4);
  assert.deepEqual(await heard(page, 4), [1, 2, 3, 4]);
  await page.goto('about:blank');
  await publish(5, 6);
  await join();
  assert.deepEqual(await heard(page, 6), [5, 6]);
});
