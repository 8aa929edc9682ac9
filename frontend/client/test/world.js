// A world in which everything that travels waits until it is let through, one thing at a time, in an order that a seed
// decides, and time passes only when it is told to. A run that fails fails again with the same seed.
import { AsyncLocalStorage } from 'node:async_hooks';
import { settled } from './hub.js';

const PATIENCE = 2000; // milliseconds after which what waits is let through before more time passes

const REST = 10_000; // milliseconds between one that was frozen and the next

/** Whose code runs: a tab's, the worker's. */
export const running = new AsyncLocalStorage();

/** mulberry32. @returns {() => number} */
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class World {
  now = 1_000_000;
  /** Those in which something waits. */
  #pipes = new Set();
  #timers = new Set();
  #dead = new Set();
  /** One owner at a time is frozen: what comes to it, and its timers, wait until then. */
  #frozen = { owner: undefined, until: 0 };

  constructor(t, seed) {
    this.random = randomFrom(seed);
    t.mock.method(Math, 'random', this.random);
    t.mock.method(Date, 'now', () => this.now);
    t.mock.method(globalThis, 'setTimeout', (fn, ms = 0) => {
      const timer = { fn, due: this.now + ms, owner: running.getStore() };
      this.#timers.add(timer);
      return timer;
    });
    t.mock.method(globalThis, 'clearTimeout', (timer) => this.#timers.delete(timer));
  }

  pick(list) {
    return list[Math.floor(this.random() * list.length)];
  }

  /** Lets one thing through, if something waits. */
  async deliver(olderThan = 0) {
    const waiting = [...this.#pipes].filter(
      (pipe) => pipe.age >= olderThan && this.#thaws(pipe.owner) <= this.now,
    );
    if (!waiting.length) return false;
    this.pick(waiting).deliver();
    await settled();
    return true;
  }

  /** Lets time pass, but nothing waits for long. */
  async pass(ms) {
    const end = this.now + ms;
    for (;;) {
      while (await this.deliver(PATIENCE));
      const [next] = [...this.#timers].sort((a, b) => this.#dueOf(a) - this.#dueOf(b));
      const due = next ? this.#dueOf(next) : end;
      this.now = Math.max(this.now, Math.min(end, due, this.now + PATIENCE / 4));
      if (due <= this.now && next) {
        this.#timers.delete(next);
        if (!this.#dead.has(next.owner)) running.run(next.owner, next.fn);
        await settled();
      } else if (this.now >= end) return;
    }
  }

  #dueOf({ due, owner }) {
    return Math.max(due, this.#thaws(owner));
  }

  #thaws(owner) {
    return owner === this.#frozen.owner ? this.#frozen.until : 0;
  }

  /** Nothing of that owner happens for a while, and then all at once; unless another has just been frozen. */
  freeze(owner, ms) {
    if (this.now > this.#frozen.until + REST) this.#frozen = { owner, until: this.now + ms };
  }

  /** Until nothing waits and so much time has passed. */
  async calm(ms) {
    for (let passed = 0; passed < ms; passed += 500) {
      while (await this.deliver());
      await this.pass(500);
    }
    while (await this.deliver());
  }

  /** No code of that owner runs any more. */
  kill(owner) {
    this.#dead.add(owner);
    for (const pipe of this.#pipes) if (pipe.owner === owner) this.#pipes.delete(pipe);
  }

  isDead(owner) {
    return this.#dead.has(owner);
  }

  waits(pipe, yes) {
    if (yes) this.#pipes.add(pipe);
    else this.#pipes.delete(pipe);
  }
}

/** What is sent comes in order, to code of its owner, some time. */
export class Pipe {
  #items = [];
  #world;

  constructor(world, owner) {
    this.#world = world;
    this.owner = owner;
  }

  get age() {
    return this.#world.now - this.#items[0].since;
  }

  push(fn) {
    if (this.#world.isDead(this.owner)) return;
    this.#items.push({ fn, since: this.#world.now });
    this.#world.waits(this, true);
  }

  deliver() {
    const { fn } = this.#items.shift();
    this.#world.waits(this, this.#items.length > 0);
    running.run(this.owner, fn);
  }

  cut() {
    this.#items = [];
    this.#world.waits(this, false);
  }
}
