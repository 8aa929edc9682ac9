// Tabs that share one connection, in Chromium, against `aldaba serve`: whoever holds the connection goes away while
// messages come.

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

/**
 * A browser of user 42 that may lack something, and the hub that its pages come from.
 * @param {import('node:test').TestContext} t
 * @param {string[]} lacks names in the global scope
 */
async function visit(t, lacks) {
  const hub = await Replicas.create();
  t.after(() => hub.remove());
  await hub.start();
  const context = await browser.newContext();
  t.after(() => context.close());
  await context.addCookies([hub.cookie('42')]);
  await context.addInitScript((/** @type {string[]} */ names) => {
    for (const name of names) Reflect.deleteProperty(globalThis, name);
  }, lacks);
  return {
    hub,
    context,
    /** Opens a tab. */
    async open() {
      const page = await context.newPage();
      await page.goto(`${hub.url}/healthz`);
      return join(page);
    },
  };
}

/** Has a page connect, and note every message. @param {import('playwright-core').Page} page */
async function join(page) {
  await page.evaluate(async () => {
    const { connect } = await import(/** @type {any} */ ('/aldaba.js'));
    /** @type {any[]} */
    const told = [];
    const client = connect({ share: true, store: 'mine' });
    client.onMessage((/** @type {any} */ { data }) => told.push(data));
    client.onResync(() => told.push('resync'));
    addEventListener('pagehide', () => sessionStorage.setItem('told', told.join()));
    Object.assign(globalThis, { client, told });
    await new Promise((resolve) => client.onState((/** @type {string} */ s) => s === 'open' && resolve(0)));
  });
  return page;
}

/** Resolves when the page has been told that. @param {import('playwright-core').Page} page @param {number} data */
const tells = (page, data) =>
  page.waitForFunction((wanted) => /** @type {any} */ (globalThis).told.includes(wanted), data);

/** @param {import('playwright-core').Page} page @returns {Promise<any[]>} */
const told = (page) => page.evaluate(() => /** @type {any} */ (globalThis).told);

/** Publishes numbers to a user, one after the other, until told to stop. @param {Replicas} hub */
function publishing(hub) {
  let count = 0;
  let on = true;
  const run = async () => {
    while (on) await hub.redis('fcall', 'aldaba_publish', '1', 'user:42', String(++count));
    return count;
  };
  const done = run();
  return {
    /** A number that comes after whatever is told now. */
    later: () => count + 10,
    /** Resolves with the last number. */
    stop() {
      on = false;
      return done;
    },
  };
}

/** @param {number} first @param {number} last */
const range = (first, last) => Array.from({ length: last - first + 1 }, (_, n) => first + n);

for (const [way, lacks] of /** @type {[string, string[]][]} */ ([
  ['SharedWorker', []],
  ['BroadcastChannel', ['SharedWorker']],
])) {
  test(`${way}: tabs close, crash and reload while messages come, and the others miss none`, async (t) => {
    const { hub, context, open } = await visit(t, lacks);
    const closes = await open();
    const crashes = await open();
    const leaves = await open();
    const reloads = await open();
    const stays = await open();
    await hub.sessions(1); // of five tabs

    const publisher = publishing(hub);
    await tells(stays, publisher.later());
    await closes.close();
    await tells(stays, publisher.later());
    const debug = await context.newCDPSession(crashes);
    const crashed = crashes.waitForEvent('crash');
    debug.send('Page.crash').catch(() => {}); // whoever would answer is dead
    await crashed;
    await tells(stays, publisher.later());
    await leaves.goto('about:blank');
    await tells(stays, publisher.later());
    await reloads.reload();
    const before = await reloads.evaluate(() =>
      (sessionStorage.getItem('told') ?? '').split(',').map(Number),
    );
    await join(reloads);
    await tells(reloads, publisher.later());
    await stays.evaluate(() => /** @type {any} */ (globalThis).client.close());
    await tells(reloads, publisher.later());
    const last = await publisher.stop();
    await tells(reloads, last);

    assert.deepEqual([...before, ...(await told(reloads))], range(before[0], last));
    const heard = await told(stays);
    assert.deepEqual(heard, range(1, heard.length));
    await hub.sessions(1);
  });

  test(`${way}: a tab that comes back late hears from the hub what the others heard long ago`, async (t) => {
    const { hub, open } = await visit(t, lacks);
    const stays = await open();
    const leaves = await open();
    const publish = async (/** @type {number} */ first, /** @type {number} */ last) => {
      for (const number of range(first, last))
        await hub.redis('fcall', 'aldaba_publish', '1', 'user:42', String(number));
    };
    await publish(1, 3);
    await tells(leaves, 3);
    await leaves.goto('about:blank');
    await publish(4, 253); // more than the tabs keep, and than one page of the history
    await tells(stays, 253);
    await leaves.goBack();
    await join(leaves);
    await tells(leaves, 253);
    await publish(254, 255);
    for (const page of [stays, leaves]) await tells(page, 255);
    assert.deepEqual(await told(leaves), range(4, 255));
    assert.deepEqual(await told(stays), range(1, 255));
    await hub.sessions(1);
  });
}
