// Chromium by its own protocol, as its users have it: playwright keeps pages from sleeping and from the back/forward
// cache. https://chromedevtools.github.io/devtools-protocol/

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { findChromium } from './chromium.js';

const PATIENCE = 30_000; // milliseconds; for a machine under load

/** A browser that ends with the test. @param {import('node:test').TestContext} t */
export async function startChromium(t) {
  const profile = await mkdtemp(join(tmpdir(), 'aldaba-'));
  const switches = ['headless', 'no-sandbox', 'disable-gpu', 'no-first-run', 'disable-background-networking'];
  const args = [...switches, 'remote-debugging-port=0', `user-data-dir=${profile}`].map(
    (name) => `--${name}`,
  );
  const process = spawn(findChromium(), args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(process, 'exit');
  t.after(async () => {
    process.kill('SIGKILL');
    await ended;
    await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }); // its children end after it
  });
  for await (const line of createInterface(process.stderr)) {
    const [, address] = line.match(/DevTools listening on (ws:\S+)/) ?? [];
    if (address) return Chromium.connect(address);
  }
  throw new Error('chromium does not listen');
}

class Chromium {
  #socket;
  #asked = 0;
  /** @type {Map<number, PromiseWithResolvers<any>>} */
  #waiting = new Map();

  /** @param {WebSocket} socket */
  constructor(socket) {
    this.#socket = socket;
    socket.on('message', (text) => {
      const { id, result, error } = JSON.parse(String(text));
      const { resolve, reject } = this.#waiting.get(id) ?? {};
      this.#waiting.delete(id);
      if (error) reject?.(new Error(error.message));
      else resolve?.(result);
    });
  }

  /** @param {string} address */
  static async connect(address) {
    const socket = new WebSocket(address);
    await once(socket, 'open');
    return new Chromium(socket);
  }

  /** @param {string} method @param {object} [params] @param {string} [sessionId] @returns {Promise<any>} */
  ask(method, params = {}, sessionId = undefined) {
    const id = ++this.#asked;
    this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, /** @type {any} */ ({ resolve, reject }));
    });
  }

  /** A tab in front of the others. */
  async open() {
    const { targetId } = await this.ask('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.ask('Target.attachToTarget', { targetId, flatten: true });
    const tab = new Tab(this, targetId, sessionId);
    await tab.ask('Page.enable');
    return tab;
  }
}

class Tab {
  #chromium;
  #target;
  #session;

  /** @param {Chromium} chromium @param {string} target @param {string} session */
  constructor(chromium, target, session) {
    this.#chromium = chromium;
    this.#target = target;
    this.#session = session;
  }

  /** @param {string} method @param {object} [params] */
  ask(method, params) {
    return this.#chromium.ask(method, params, this.#session);
  }

  /** @param {string} url */
  async go(url) {
    await this.ask('Page.navigate', { url });
    await this.until(`location.href === ${JSON.stringify(url)} && document.readyState === 'complete'`);
  }

  /** What an expression comes to. @param {string} expression */
  async evaluate(expression) {
    const options = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.ask('Runtime.evaluate', options);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description);
    return result.value;
  }

  /** Resolves when it is true. @param {string} expression @param {number} [within] milliseconds */
  async until(expression, within = PATIENCE) {
    for (const deadline = Date.now() + within; Date.now() < deadline; await pause(50)) {
      if (await this.evaluate(expression).catch(() => false)) return; // a page on its way throws
    }
    throw new Error(`not in time: ${expression}`);
  }

  show() {
    return this.#chromium.ask('Target.activateTarget', { targetId: this.#target });
  }

  /** Has a tab that is not seen sleep, or wake. @param {'frozen' | 'active'} state */
  become(state) {
    return this.ask('Page.setWebLifecycleState', { state });
  }
}
