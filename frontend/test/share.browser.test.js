// Tabs that share one connection, in Chromium, with the hub that does only what the test tells it to.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { startHub } from '../client/test/hub.js';
import { findChromium } from '../test-support/chromium.js';

const MODULE = new URL('../client/aldaba.min.js', import.meta.url);
const PAGE = '<!doctype html><link rel="icon" href="data:"><title>a tab</title>';

/** @param {number} offset */
const at = (offset) => `e1:${offset}-1790`;

/** @type {import('playwright-core').Browser} */
let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: findChromium(),
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
});
after(() => browser.close());

/**
 * A browser that may lack something, and the hub that its pages come from.
 * @param {import('node:test').TestContext} t
 * @param {string[]} lacks names in the global scope
 */
async function visit(t, lacks) {
  const hub = await startHub(t);
  hub.pages.set('/', ['text/html', PAGE]);
  hub.pages.set('/aldaba.js', ['text/javascript', await readFile(MODULE)]);
  const origin = hub.url.replace('ws:', 'http:').replace('/ws', '');
  const context = await browser.newContext();
  t.after(() => context.close());
  await context.addInitScript((/** @type {string[]} */ names) => {
    for (const name of names) Reflect.deleteProperty(globalThis, name);
  }, lacks);
  return {
    hub,
    /** Opens a tab. @param {object} [options] of the client */
    async open(options = {}) {
      const page = await context.newPage();
      await page.goto(origin);
      await join(page, options);
      return page;
    },
  };
}

/** Has a page connect. @param {import('playwright-core').Page} page @param {object} options */
async function join(page, options) {
  await page.evaluate(async (given) => {
    const { connect } = await import(/** @type {any} */ ('/aldaba.js'));
    /** @type {string[]} */
    const told = [];
    const client = connect({ share: true, getToken: () => 'token', ...given });
    client.onMessage((/** @type {any} */ { channel, data }) => told.push(`${channel} ${data}`));
    client.onResync((/** @type {string} */ channel) => told.push(`resync ${channel}`));
    Object.assign(globalThis, { client, told });
  }, options);
}

/** @param {import('playwright-core').Page} page @param {string} wanted */
const state = (page, wanted) =>
  page.waitForFunction((name) => /** @type {any} */ (globalThis).client.state === name, wanted);

/** What a tab has been told, once it was told the last of these. @param {import('playwright-core').Page} page @param {string[]} expected */
async function tells(page, ...expected) {
  await page.waitForFunction((last) => /** @type {any} */ (globalThis).told.includes(last), expected.at(-1));
  assert.deepEqual(await page.evaluate(() => /** @type {any} */ (globalThis).told), expected);
}

/** @param {import('playwright-core').Page} page @param {string} channel */
const subscribe = (page, channel) =>
  page.evaluate((name) => /** @type {any} */ (globalThis).client.subscribe(name), channel);

for (const [way, lacks] of /** @type {[string, string[]][]} */ ([
  ['SharedWorker', []],
  ['BroadcastChannel', ['SharedWorker']],
])) {
  test(`${way}: tabs share one connection, and each is told everything once`, async (t) => {
    const { hub, open } = await visit(t, lacks);
    const one = await open();
    const connection = await hub.connection();
    assert.equal(connection.token, 'token');
    connection.welcome('user:42', { channel: 'a', position: at(1), unread: 2 });
    await state(one, 'open');
    const two = await open();
    await state(two, 'open');
    connection.message('user:42', 1);
    connection.message('a', 2, at(2));
    await Promise.all([one, two].map((page) => tells(page, 'user:42 1', 'a 2')));
    const late = await open();
    await state(late, 'open');
    assert.equal(await late.evaluate(() => /** @type {any} */ (globalThis).client.unread('a')), 3);
    const joined = subscribe(late, 'room:1');
    await connection.join();
    await joined;
    connection.message('room:1', 'x');
    connection.message('a', 3, at(3));
    await tells(late, 'room:1 x', 'a 3');
    await tells(two, 'user:42 1', 'a 2', 'a 3');
    assert.equal(hub.untaken, 0);
  });

  test(`${way}: a closed tab takes its channels with it`, async (t) => {
    const { hub, open } = await visit(t, lacks);
    const one = await open();
    const connection = await hub.connection();
    connection.welcome();
    await state(one, 'open');
    const two = await open();
    const joined = subscribe(two, 'room:1');
    await connection.join();
    await joined;
    await two.close();
    const { type, channel } = await connection.frame();
    assert.deepEqual([type, channel], ['unsubscribe', 'room:1']);
  });

  test(`${way}: the first tab closes, and the others miss nothing`, async (t) => {
    const { hub, open } = await visit(t, lacks);
    const one = await open();
    let connection = await hub.connection();
    connection.welcome({ channel: 'a', position: at(1) });
    await state(one, 'open');
    const two = await open();
    const three = await open();
    const joined = subscribe(three, 'room:1');
    await connection.join({ position: at(7) });
    await joined;
    connection.message('a', 2, at(2));
    await Promise.all([two, three].map((page) => tells(page, 'a 2')));
    await one.close();
    if (way === 'BroadcastChannel') {
      connection = await hub.connection();
      const { type, positions } = await connection.frame();
      // The tab that the new leader hears first has it begin: what only another one has joined follows with its subscribe.
      assert.deepEqual(
        [type, positions],
        ['resume', { a: at(2), ...(positions['room:1'] && { 'room:1': at(7) }) }],
      );
      connection.welcome({ channel: 'a', position: at(2), recovered: true });
      assert.equal((await connection.join({ position: at(7), recovered: true })).position, at(7));
    }
    connection.message('room:1', 8, at(8));
    connection.message('a', 3, at(3));
    await tells(two, 'a 2', 'a 3');
    await tells(three, 'a 2', 'room:1 8', 'a 3');
    assert.equal(hub.untaken, 0);
  });

  test(`${way}: a tab that is reloaded goes on where it was`, async (t) => {
    const { hub, open } = await visit(t, lacks);
    const one = await open({ store: 'mine' });
    const connection = await hub.connection();
    connection.welcome({ channel: 'a', position: at(1) });
    await state(one, 'open');
    const two = await open({ store: 'mine' });
    await state(two, 'open');
    connection.message('a', 2, at(2));
    await tells(two, 'a 2');
    await two.reload();
    await join(two, { store: 'mine' });
    await state(two, 'open');
    connection.message('a', 3, at(3));
    await tells(two, 'a 3');
    connection.message('a', 4, at(4));
    await tells(one, 'a 2', 'a 3', 'a 4');
    assert.equal(hub.untaken, 0);
  });
}

test('where nothing can be shared, each tab has a connection of its own', async (t) => {
  const { hub, open } = await visit(t, ['SharedWorker', 'BroadcastChannel']);
  for (const data of [1, 2]) {
    const page = await open();
    const connection = await hub.connection();
    connection.welcome('a');
    await state(page, 'open');
    connection.message('a', data);
    await tells(page, `a ${data}`);
  }
});
