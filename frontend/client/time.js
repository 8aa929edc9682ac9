// Timers with names, and how long to wait between attempts.

export const SECOND = 1000;
const BACKOFF_FIRST = 1 * SECOND;
const BACKOFF_MAX = 30 * SECOND;

/** Timers by what they are for: one that is set anew replaces the last one of that name. */
export class Timers {
  /** @type {Map<unknown, any>} */
  #set = new Map();

  /** @param {unknown} name @param {number} ms @param {() => void} fn */
  later(name, ms, fn) {
    this.stop(name);
    this.#set.set(name, setTimeout(fn, ms)); // to stop one that is over has no effect
  }

  /** Resolves after that time, or never if it is stopped before. @param {unknown} name @param {number} ms */
  pause(name, ms) {
    return new Promise((resolve) => this.later(name, ms, /** @type {() => void} */ (resolve)));
  }

  /** @param {unknown} name */
  stop(name) {
    clearTimeout(this.#set.get(name));
    this.#set.delete(name);
  }

  stopAll() {
    for (const name of this.#set.keys()) this.stop(name);
  }
}

/** Full jitter: anything from nothing to the ceiling, which doubles. @param {number} failures */
export function backoff(failures) {
  return upTo(Math.min(BACKOFF_MAX, BACKOFF_FIRST * 2 ** failures));
}

/** @param {number} ceiling */
export function upTo(ceiling) {
  return Math.floor(Math.random() * ceiling);
}
