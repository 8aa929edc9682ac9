// Who wants to be called, and the calling: one that throws breaks no other.

/** Functions by name: of an event, or of a channel. */
export class Listeners {
  /** @type {Map<string, Set<Function>>} */
  #sets = new Map();
  #failed;

  /** @param {(error: unknown) => void} failed is told what a function threw, or rejected with */
  constructor(failed) {
    this.#failed = failed;
  }

  /** @param {string} name @param {Function} fn @returns {() => void} takes it off again */
  add(name, fn) {
    checkChannel(name);
    const set = this.#sets.get(name) ?? new Set();
    this.#sets.set(name, set);
    set.add(fn);
    return () => {
      set.delete(fn);
      if (!set.size && this.#sets.get(name) === set) this.#sets.delete(name);
    };
  }

  /** Those of that name, now. @param {string} name */
  of(name) {
    return [...(this.#sets.get(name) ?? [])];
  }

  /** Calls each once, even if some come or go meanwhile. @param {string} name @param {any[]} args */
  tell(name, ...args) {
    for (const fn of this.of(name)) {
      if (this.#sets.get(name)?.has(fn)) this.call(fn, ...args);
    }
  }

  /** @param {Function} fn @param {any[]} args */
  call(fn, ...args) {
    try {
      fn(...args)?.catch?.(this.#failed);
    } catch (error) {
      this.#failed(error);
    }
  }
}

/** Throws a TypeError unless it is a name. @param {unknown} channel */
export function checkChannel(channel) {
  if (typeof channel !== 'string' || channel === '') throw new TypeError('aldaba: not a channel');
}
