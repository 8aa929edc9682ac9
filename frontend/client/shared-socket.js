// A tab's way to the connection that the tabs share: through a SharedWorker, or through the tab that leads.

import { broken, lockOf, locks, PREFIX } from './locks.js';
import { Share } from './share.js';

/** @typedef {import('./share.js').Make} Make */

/** A module of this name is a file of its own; any other is a bundle, which a worker must not run. */
const OWN_FILE = /\/aldaba(\.min)?\.js([?#]|$)/;

/** A tab's end of the shared connection. It opens anew whenever the connection is held by someone else. */
export class SharedSocket {
  shared = true;
  id = String(Math.random());
  onopen = () => {};
  /** @type {((event: {data: any}) => void) | null} */
  onmessage = null;
  /** @type {((event: {code: number, reason: string}) => void) | null} */
  onclose = null;
  #name;
  #url;
  #make;
  /** @type {((text: string) => void) | undefined} */
  #post;
  #gone = new AbortController();
  /** Gives up what is held: locks, channels, the lead. @type {(() => void)[]} */
  #held = [];

  /**
   * @param {string} url of the module that a worker is to run
   * @returns {'worker' | 'tabs' | undefined} who may hold a shared connection here
   */
  static way(url) {
    if (!locks()) return undefined; // nothing would tell that a tab is gone
    if (globalThis.SharedWorker && OWN_FILE.test(url) && !broken.has('worker')) return 'worker';
    if (globalThis.BroadcastChannel && !broken.has('tabs')) return 'tabs';
    return undefined;
  }

  /** Whoever holds the connection does not answer: this page shares it in that way no more. @param {string} url as for `way` */
  static giveUp(url) {
    broken.add(SharedSocket.way(url));
  }

  /** @param {string} name of the connection @param {string} url as for `way` @param {Make} make */
  constructor(name, url, make) {
    this.#name = PREFIX + name;
    this.#url = url;
    this.#make = make;
    this.#hold(lockOf(this.id), () => this.#start());
  }

  /** @param {string} text */
  send(text) {
    this.#post?.(text);
  }

  close() {
    this.send('{"type":"bye"}');
    this.#post = undefined;
    this.#gone.abort();
    for (const release of this.#held.splice(0)) release();
  }

  #start() {
    const way = SharedSocket.way(this.#url);
    try {
      if (way === 'worker') this.#toWorker();
      else if (way) this.#toLeader();
      else this.onclose?.({ code: 1006, reason: '' });
    } catch {
      this.#cannot(way); // the module is of another origin, or the policy of the page forbids
    }
  }

  /** @param {string | undefined} what */
  #cannot(what) {
    if (this.#gone.signal.aborted) return;
    broken.add(what);
    this.#start();
  }

  #toWorker() {
    const worker = new SharedWorker(this.#url, { type: 'module', name: this.#name });
    const { port } = worker;
    worker.onerror = () => this.#cannot('worker');
    port.onmessage = ({ data }) => this.onmessage?.({ data });
    this.#post = (text) => port.postMessage(text);
    this.#held.push(() => port.close());
    this.onopen();
  }

  #toLeader() {
    const tabs = new BroadcastChannel(this.#name);
    tabs.onmessage = ({ data }) => {
      if (data.to === this.id) this.onmessage?.({ data: data.frame });
      else if (data.lead) this.onopen();
    };
    this.#post = (text) => tabs.postMessage({ from: this.id, text });
    this.#held.push(() => tabs.close());
    this.onopen(); // there may be a leader
    this.#hold(this.#name, () => this.#lead());
  }

  #lead() {
    if (this.#gone.signal.aborted) return;
    const tabs = new BroadcastChannel(this.#name); // another one: this tab is a tab like all
    const share = new Share(this.#make);
    tabs.onmessage = ({ data: { from, text } }) => {
      const send = (/** @type {object} */ frame) => {
        if (!this.#gone.signal.aborted) tabs.postMessage({ to: from, frame }); // a closed one throws
      };
      if (from) share.take(from, send, JSON.parse(text));
    };
    this.#held.push(
      () => share.end(),
      () => tabs.close(),
    );
    tabs.postMessage({ lead: true });
  }

  /** Calls fn once the lock is had, and keeps it until closed. @param {string} name @param {() => void} fn */
  #hold(name, fn) {
    const has = () => {
      fn();
      return new Promise((resolve) => this.#held.push(() => resolve(undefined)));
    };
    locks()
      ?.request(name, { signal: this.#gone.signal }, has)
      .catch(() => this.#cannot('locks'));
  }
}

/** In a worker of ours: holds the connection. @param {Make} make */
export function serve(make) {
  const worker = /** @type {any} */ (globalThis);
  if (!worker.SharedWorkerGlobalScope || !worker.name?.startsWith(PREFIX)) return;
  const share = new Share(make);
  worker.onconnect = (/** @type {MessageEvent} */ { ports: [port] }) => {
    let id = '';
    port.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      id = frame.tab ?? id;
      share.take(id, (answer) => port.postMessage(answer), frame);
    };
  };
}
