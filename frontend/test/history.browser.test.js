// Channels with history in Chromium, against a running `aldaba dev`: see .ci/browser.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { findChromium } from '../test-support/chromium.js';

/** @param {string} name */
function need(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run this through .ci/browser`);
  return value;
}

const url = need('ALDABA_DEMO_URL');
const port = need('ALDABA_REDIS_PORT');
const pictures = need('ALDABA_SCREENSHOTS');

/** @type {import('playwright-core').Browser} */
let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: findChromium(),
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
});
after(() => browser.close());

/** Opens the page on a device of its own. @param {import('node:test').TestContext} t @param {object} [options] */
async function device(t, user = 'anna', options = {}) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(`${url}/#${user}`);
  await page.locator('#state[data-state="open"]').waitFor();
  return { context, page };
}

/** @param {string} channel @param {object} data */
const publish = (channel, data) =>
  execFileSync('redis-cli', ['-p', port, 'publish', channel, JSON.stringify(data)]);

test('a page that was offline for a minute shows what it missed, in order', async (t) => {
  const { context, page } = await device(t);
  publish('user:anna', { title: 'before the tunnel' });
  await page.locator('#private').getByText('before the tunnel').waitFor();
  await context.setOffline(true);
  await page.locator('#state[data-state="waiting"]').waitFor({ timeout: 60_000 });
  const away = Date.now();
  for (let n = 1; n <= 5; n++) publish('user:anna', { title: `in the tunnel ${n}` });
  while (Date.now() - away < 60_000) await new Promise((done) => setTimeout(done, 500));
  await context.setOffline(false);
  await page.locator('#private').getByText('in the tunnel 5').waitFor({ timeout: 60_000 });
  const shown = await page.locator('#private .headline').allTextContents();
  assert.deepEqual(shown.slice(0, 6), [
    ...[5, 4, 3, 2, 1].map((n) => `in the tunnel ${n}`),
    'before the tunnel',
  ]);
  assert.equal(await page.locator('#private .gap').count(), 0);
});

test('what is read on the phone is read on the laptop', async (t) => {
  const laptop = (await device(t, 'ben')).page;
  const phone = (await device(t, 'ben', { viewport: { width: 390, height: 844 } })).page;
  for (const n of [1, 2, 3]) publish('user:ben', { title: `knock ${n}` });
  for (const page of [laptop, phone]) await page.locator('#unread', { hasText: '3 unread' }).waitFor();
  await laptop.screenshot({ path: path.join(pictures, 'badge-laptop.png') });
  await phone.screenshot({ path: path.join(pictures, 'badge-phone.png') });
  await phone.locator('#read').focus();
  await phone.keyboard.press('Enter');
  for (const page of [laptop, phone]) await page.locator('#unread').waitFor({ state: 'hidden' });
  publish('user:ben', { title: 'knock 4' });
  for (const page of [laptop, phone]) await page.locator('#unread', { hasText: '1 unread' }).waitFor();
  await laptop.reload();
  await laptop.locator('#unread', { hasText: '1 unread' }).waitFor();
});
