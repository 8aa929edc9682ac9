// The demo page in Chromium against a running `aldaba dev`: see .ci/browser.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { findChromium } from '../test-support/chromium.js';
import { DevHub } from '../test-support/dev-hub.js';

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

/**
 * A browser for one test. What pages may not do (errors in the console, violations of the content security policy,
 * requests to anywhere but the hub) fails the test at its end.
 * @param {import('node:test').TestContext} t
 * @param {import('playwright-core').BrowserContextOptions} options
 */
async function visitor(t, options = {}, origin = url, expected = /^never$/) {
  const context = await browser.newContext(options);
  /** @type {string[]} */
  const complaints = [];
  context.on('console', (message) => {
    if (message.type() === 'error' && !expected.test(message.text())) complaints.push(message.text());
  });
  context.on('weberror', (error) => complaints.push(String(error.error())));
  context.on('request', (request) => {
    if (new URL(request.url()).origin !== origin) complaints.push(`a request to ${request.url()}`);
  });
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) =>
      console.error('violates', event.violatedDirective),
    );
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  });
  return {
    context,
    /** Opens a tab as a user. @param {string} user */
    async open(user) {
      const page = await context.newPage();
      await page.goto(`${origin}/#${user}`);
      await state(page, 'open');
      return page;
    },
  };
}

/** @param {import('playwright-core').Page} page @param {string} name */
const state = (page, name) => page.locator(`#state[data-state="${name}"]`).waitFor();

/** @param {string} channel @param {object} data */
const publish = (channel, data, on = port) =>
  execFileSync('redis-cli', ['-p', on, 'publish', channel, JSON.stringify(data)]);

/** @param {import('playwright-core').Page} page @param {string} panel @param {string} text */
const shows = (page, panel, text) => page.locator(`#${panel} .feed`).getByText(text).waitFor();

/** Takes a picture once nothing moves. @param {import('playwright-core').Page} page @param {string} name */
async function picture(page, name, fullPage = true) {
  await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
  await page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage });
}

test('two tabs are two users, and each shows only what is theirs', async (t) => {
  const { open } = await visitor(t);
  const anna = await open('anna');
  const ben = await open('ben');
  publish('user:anna', { title: 'only for anna', body: '<b>not bold</b>' });
  publish('broadcast', { title: 'a later broadcast' });
  await shows(anna, 'private', 'only for anna');
  await shows(anna, 'private', '<b>not bold</b>');
  await shows(anna, 'broadcast', 'a later broadcast');
  await shows(ben, 'broadcast', 'a later broadcast');
  // Whatever was published before the broadcast has arrived by now, or never will.
  assert.equal(await ben.getByText('only for anna').count(), 0);
  assert.equal(await ben.locator('#private .entry').count(), 0);
  assert.equal(await anna.locator('#private .entry').count(), 1);
  // Whoever is chosen next in a tab does not see what the last one did.
  await anna.locator('.user', { hasText: 'Ben' }).click();
  await anna.getByText('Only Ben hears these').waitFor();
  assert.equal(await anna.locator('.entry').count(), 0);
});

test('a room hears what its members say, an organization its news, everybody the blog', async (t) => {
  const { open } = await visitor(t);
  const [anna, ben, carla] = [await open('anna'), await open('ben'), await open('carla')];
  await anna.locator('#say-text').fill('hello lobby');
  await anna.locator('#say-text').press('Enter');
  await shows(ben, 'rooms', 'hello lobby');
  await shows(anna, 'rooms', 'hello lobby');
  assert.equal(await anna.locator('#say-text').inputValue(), '');
  publish('org:acme:news', { title: 'acme moved' });
  publish('room:garden', { text: 'the tomatoes are in', from: 'Carla' });
  publish('blogpost', { id: 7, tags: ['redis'] });
  for (const page of [anna, ben, carla]) await shows(page, 'blog', '{"id":7,"tags":["redis"]}');
  await shows(ben, 'news', 'acme moved');
  await shows(carla, 'rooms', 'the tomatoes are in');
  assert.equal(await carla.getByText('acme moved').count(), 0);
  assert.equal(await carla.getByText('hello lobby').count(), 0);
  assert.equal(await ben.getByText('the tomatoes are in').count(), 0);
});

test('a door without a grant stays shut, whoever else it opens for', async (t) => {
  const { open } = await visitor(t);
  const anna = await open('anna');
  await anna.locator('#knock button').click();
  await shows(anna, 'ask', 'forbidden');
  assert.equal(await anna.locator('#announce-text').isHidden(), true);
  const dora = await open('dora');
  assert.equal(await dora.locator('#say-text').isHidden(), true);
  await dora.locator('#knock button').click();
  await shows(dora, 'ask', 'The door opens');
  await dora.locator('#say-text').fill('in the attic');
  await dora.locator('#say button').click();
  await shows(dora, 'rooms', 'in the attic');
  // A name that a shell would take for two commands is still one word of the line.
  await dora.locator('#knock-room').fill('attic|cellar');
  await dora.locator('#knock button').click();
  await dora.locator('#say-room').selectOption('room:attic|cellar');
  const line = (await dora.locator('#rooms .line code').first().textContent()) ?? '';
  execFileSync('sh', ['-c', line]);
  await shows(dora, 'rooms', 'Anybody here?');
});

test('the lines that are copied do what they say', async (t) => {
  const { context, open } = await visitor(t, { permissions: ['clipboard-read', 'clipboard-write'] });
  const anna = await open('anna');
  const copied = async (/** @type {string} */ panel, /** @type {string} */ language) => {
    const line = anna.locator(`#${panel} .line`, { has: anna.getByText(language, { exact: true }) });
    const button = line.getByRole('button', { name: `Copy the line of ${language}` });
    await button.click();
    await button.getByText('Copied').waitFor();
    await anna.locator('#said').getByText('Copied').waitFor({ state: 'attached' });
    const text = await anna.evaluate(() => navigator.clipboard.readText());
    assert.equal(text, await line.locator('code').textContent());
    return text;
  };
  const shell = await copied('private', 'redis-cli');
  assert.equal(shell, `redis-cli -p ${port} publish user:anna '{"title":"Your invoice is ready"}'`);
  assert.equal(execFileSync('sh', ['-c', shell], { encoding: 'utf8' }).trim(), '1');
  await shows(anna, 'private', 'Your invoice is ready');

  await anna.locator('#say-room').selectOption('room:garden');
  const python = await copied('rooms', 'Python');
  assert.equal(
    python,
    `python3 -c 'import json, redis; redis.Redis(port=${port}).publish("room:garden", json.dumps({"text":"Anybody here?","from":"backend"}))'`,
  );
  // Debian's python3 is the one that has its python3-redis.
  execFileSync('sh', ['-c', python], { env: { ...process.env, PATH: `/usr/bin:${process.env.PATH}` } });
  await shows(anna, 'rooms', 'Anybody here?');

  // Without permission the line is selected instead.
  await context.clearPermissions();
  await anna.evaluate(() => {
    navigator.clipboard.writeText = () => Promise.reject(new Error('forbidden'));
  });
  await anna.locator('#blog .copy').first().click();
  await anna.locator('#said').getByText('Selected').waitFor({ state: 'attached' });
  assert.match(await anna.evaluate(() => String(getSelection())), /^redis-cli .* blogpost /);
});

test('everything is done with the keyboard alone', async (t) => {
  const { open } = await visitor(t);
  const carla = await open('carla');
  const page = await open('anna');
  const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.className);
  const tab = async (/** @type {string} */ id) => {
    for (let stops = 0; stops < 40; stops++) {
      await page.keyboard.press('Tab');
      if ((await focused()) === id) return;
    }
    assert.fail(`the Tab key does not lead to ${id}`);
  };
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'skip');
  await page.keyboard.press('Enter');
  assert.equal(await focused(), 'private');
  assert.match(page.url(), /#anna$/, 'the address still says who one is');
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'read', 'what the tests before have published is unread');
  await page.keyboard.press('Enter');
  await page.locator('#unread').waitFor({ state: 'hidden' });
  assert.equal(await focused(), 'private');
  await page.keyboard.press('Tab');
  assert.match(String(await focused()), /copy/);

  await page.locator('#user-anna').focus();
  for (const user of ['ben', 'carla', 'dora']) {
    await page.keyboard.press('ArrowRight');
    assert.equal(await focused(), `user-${user}`);
  }
  await page.getByText('From a page only an admin').waitFor();
  await state(page, 'open');
  await picture(page, 'focus', false);
  await tab('leave');
  await page.keyboard.press('Enter');
  await state(page, 'closed');
  await picture(page, 'signed-out', false);
  await page.keyboard.press('Enter');
  await state(page, 'open');
  await tab('announce-text');
  await page.keyboard.type('from dora');
  await page.keyboard.press('Enter');
  await shows(carla, 'broadcast', 'from dora');
  await tab('knock-room');
  await page.keyboard.press('Enter');
  await shows(page, 'ask', 'The door opens');
  await page.reload();
  await page.getByText('From a page only an admin').waitFor();
});

test('what arrives while nobody looks is counted in the title, and read out once', async (t) => {
  const { open } = await visitor(t);
  const page = await open('anna');
  const look = (/** @type {boolean} */ yes) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });
      document.dispatchEvent(new Event('visibilitychange'));
    }, !yes);
  const titled = (/** @type {string} */ title) =>
    page.waitForFunction((expected) => document.title === expected, title);
  await titled('Anna · Aldaba');
  await look(false);
  publish('user:anna', { title: 'first' });
  await titled('(1) Anna · Aldaba');
  await page.locator('#arrived').getByText('Private notifications: first').waitFor();
  publish('broadcast', { title: 'second' });
  await titled('(2) Anna · Aldaba');
  await look(true);
  await titled('Anna · Aldaba');
});

test('the theme is the system’s until one is chosen, and the choice is remembered', async (t) => {
  const { open } = await visitor(t, { colorScheme: 'dark' });
  const page = await open('anna');
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const pressed = (/** @type {boolean} */ yes) =>
    page.getByRole('button', { name: 'Dark theme', pressed: yes }).waitFor();
  await pressed(true);
  const dark = await ground();
  await page.locator('#theme').click();
  await pressed(false);
  assert.notEqual(await ground(), dark);
  const light = await ground();
  await page.reload();
  await pressed(false);
  assert.equal(await ground(), light);
});

test('the page recovers by itself when the hub is stopped and started again', async (t) => {
  const hub = await DevHub.create();
  t.after(() => hub.remove());
  await hub.start();
  // The browser itself reports each attempt that nobody answered.
  const expected = /ERR_CONNECTION_REFUSED|WebSocket connection to .* failed/;
  const { open } = await visitor(t, {}, hub.url, expected);
  const page = await open('anna');
  publish('user:anna', { title: 'before' }, hub.redisPort);
  await shows(page, 'private', 'before');
  await hub.stop();
  await page.getByText('The connection is lost.').waitFor();
  await picture(page, 'lost', false);
  await hub.start();
  await state(page, 'open');
  await page.locator('#strip').waitFor({ state: 'hidden' });
  await shows(page, 'private', 'Messages may have been missed here');
  publish('user:anna', { title: 'after' }, hub.redisPort);
  await shows(page, 'private', 'after');
});

for (const [name, options] of /** @type {[string, import('playwright-core').BrowserContextOptions][]} */ ([
  ['light', { colorScheme: 'light' }],
  ['dark', { colorScheme: 'dark' }],
  ['phone', { colorScheme: 'light', viewport: { width: 390, height: 844 }, hasTouch: true }],
  ['narrow', { colorScheme: 'dark', viewport: { width: 320, height: 640 }, reducedMotion: 'reduce' }],
])) {
  test(`the page is readable and does not jump: ${name}`, async (t) => {
    const { open } = await visitor(t, options);
    const page = await open('anna');
    const height = () => page.evaluate(() => document.documentElement.scrollHeight);
    const before = await height();
    publish('user:anna', { title: 'Your invoice is ready', body: 'March, 42.00 €. Due in two weeks.' });
    publish('room:lobby', { text: 'Anybody here?', from: 'Ben' });
    publish('org:acme:news', { title: 'We have moved' });
    publish('broadcast', { title: 'Maintenance at noon' });
    await shows(page, 'private', 'Your invoice is ready');
    await shows(page, 'rooms', 'Anybody here?');
    await shows(page, 'broadcast', 'Maintenance at noon');
    assert.equal(await height(), before, 'messages move what is below them');
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    assert.equal(wide, false, 'the page scrolls sideways');
    await picture(page, name);
    assert.deepEqual(await page.evaluate(faint), []);
  });
}

/** Finds text with a contrast below 4.5:1 (WCAG AA) to what it stands on. Runs in the page. */
function faint() {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  if (!canvas) throw new Error('no canvas');
  const rgba = (/** @type {string} */ colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const luminance = (/** @type {string} */ colour) => {
    const [r, g, b] = [...rgba(colour)].map((v) =>
      v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  /** @type {string[]} */
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!element?.checkVisibility() || !walker.currentNode.textContent?.trim()) continue;
    /** @type {Element | null} */
    let ground = element;
    while (ground && rgba(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    const pair = [getComputedStyle(element).color, getComputedStyle(ground ?? document.body).backgroundColor];
    const [high, low] = pair.map(luminance).sort((a, b) => b - a);
    if ((high + 0.05) / (low + 0.05) < 4.5)
      found.push(`${walker.currentNode.textContent}: ${pair.join(' on ')}`);
  }
  return found;
}
