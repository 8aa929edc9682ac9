// Holding messages back while the state that they change is being fetched.

import { Timers } from './time.js';

const MAX_HELD = 1000; // messages of one channel; beyond it the state is fetched once more instead

/** One channel whose state may be missing. */
export class Holdback {
  /** @type {any[]} */
  #messages = [];
  #again = true;
  #ended = false;
  #timers = new Timers();

  /** Keeps a message for later. @param {any} message */
  hold(message) {
    if (this.#messages.push(message) <= MAX_HELD) return;
    this.#messages = [];
    this.again(); // a fetch that begins now knows of them all
  }

  /** Once more, when the present fetch is over: it may have begun too early. */
  again() {
    this.#again = true;
  }

  /** Gives up: nothing is fetched or delivered any more. */
  end() {
    this.#ended = true;
    this.#timers.stopAll();
  }

  /**
   * Fetches until it works.
   * @param {() => unknown} fetch
   * @param {(error: unknown, failures: number) => number} failed tells of it, and gives the time until the next attempt
   * @returns {Promise<any[]>} what was held back; of no use, or never, once `end` was called
   */
  async run(fetch, failed) {
    for (let failures = 0; this.#again && !this.#ended; ) {
      this.#again = false;
      try {
        await fetch();
        failures = 0;
      } catch (error) {
        if (this.#ended) break;
        this.#again = true;
        await this.#timers.pause('again', failed(error, failures++));
      }
    }
    return this.#messages;
  }
}
