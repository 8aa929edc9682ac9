// The demo page in Chromium against a running `aldaba dev`: see .ci/browser.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

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
/** @type {string[]} */
const complaints = [];

before(async () => {
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
});
after(() => browser.close());

/** @param {string} user @param {object} options */
async function open(user, options = {}) {
  const page = await (await browser.newContext(options)).newPage();
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(`${url}/#${user}`);
  await page.locator('#state[data-state="open"]').waitFor();
  return page;
}

/** @param {string} channel @param {object} data */
const publish = (channel, data) =>
  execFileSync('redis-cli', ['-p', port, 'publish', channel, JSON.stringify(data)]);

/** @param {import('playwright-core').Page} page @param {string} panel @param {string} text */
const shows = (page, panel, text) => page.locator(`#${panel} .feed`).getByText(text).waitFor();

test('each user sees what is theirs, and only that', async () => {
  const anna = await open('anna');
  const ben = await open('ben');
  publish('user:anna', { title: 'only for anna', body: '<b>not bold</b>' });
  await shows(anna, 'private', 'only for anna');
  await shows(anna, 'private', '<b>not bold</b>');
  publish('broadcast', { title: 'for everyone' });
  await shows(anna, 'broadcast', 'for everyone');
  await shows(ben, 'broadcast', 'for everyone');
  assert.equal(await ben.getByText('only for anna').count(), 0);

  await anna.locator('#say-text').fill('hello room');
  await anna.locator('#say-text').press('Enter');
  await shows(ben, 'rooms', 'hello room');
  publish('blogpost', { title: 'a post', author: 'Anna' });
  publish('org:acme:news', { title: 'acme moved' });
  await shows(ben, 'blog', 'a post');
  await shows(ben, 'news', 'acme moved');
  await shows(anna, 'news', 'acme moved');

  await anna.locator('#knock button').click();
  await shows(anna, 'ask', 'forbidden');
  assert.equal(await anna.locator('#announce').isHidden(), true);
  assert.match(
    (await anna.locator('#private pre').first().textContent()) ?? '',
    new RegExp(`redis-cli -p ${port} publish user:anna`),
  );

  for (const [name, options] of /** @type {[string, object][]} */ ([
    ['light', { colorScheme: 'light' }],
    ['dark', { colorScheme: 'dark' }],
    ['phone', { colorScheme: 'light', viewport: { width: 360, height: 740 } }],
  ])) {
    const page = await open('anna', options);
    publish('user:anna', { title: 'Your invoice is ready' });
    publish('room:lobby', { text: 'Anybody here?', from: 'Ben' });
    await shows(page, 'private', 'Your invoice is ready');
    await shows(page, 'rooms', 'Anybody here?');
    assert.equal(
      await page.evaluate(() => document.documentElement.scrollWidth > innerWidth),
      false,
      `${name} scrolls sideways`,
    );
    await page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });
  }
  assert.deepEqual(complaints, []);
});

test('an admin broadcasts, and any room opens, with the keyboard alone', async () => {
  const dora = await open('dora');
  const carla = await open('carla');
  await dora.locator('#announce-text').focus();
  await dora.keyboard.type('from dora');
  await dora.keyboard.press('Tab');
  await dora.keyboard.press('Enter');
  await shows(carla, 'broadcast', 'from dora');
  await dora.locator('#knock-room').focus();
  await dora.keyboard.press('Enter');
  await shows(dora, 'ask', 'The door opens');
  assert.deepEqual(complaints, []);
});
