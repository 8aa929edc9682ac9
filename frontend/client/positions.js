// How far each channel has been heard, in the hub's own opaque words, kept over a reload if the page wishes.

/** @typedef {{getItem: (key: string) => string | null, setItem: (key: string, value: string) => void}} Store */

const FORM = /^[A-Za-z0-9:-]{1,128}$/;
const MAX_CHANNELS = 256; // of which positions are kept: a hub lets a session join fewer
const SAVE_GAP = 200; // milliseconds; a burst of messages is one write

/**
 * Whether one position is another or comes before it, for dropping what was heard already. This is the only place that
 * looks into positions; those of two epochs (a Redis that began anew) cannot be compared.
 * @param {unknown} position
 * @param {unknown} newest
 */
export function seen(position, newest) {
  const [one, other] = [position, newest].map((text) => /^(.*):(\d+)-/.exec(/** @type {string} */ (text)));
  return Boolean(one && other && one[1] === other[1] && BigInt(one[2]) <= BigInt(other[2]));
}

/** The newest position of each channel. */
export class Positions {
  /** @type {Map<string, string>} the longest unchanged first */
  #newest = new Map();
  /** @type {Map<string, string | undefined>} where a reload is to begin for channels whose messages are held back */
  #pinned = new Map();
  /** @type {Store | undefined} */
  #store;
  #key;
  /** @type {any} */
  #timer;

  /** @param {string | Store} [store] the name under which sessionStorage keeps them, or something like it */
  constructor(store) {
    this.#key = typeof store === 'string' ? `aldaba:${store}` : 'aldaba';
    try {
      this.#store = typeof store === 'string' ? globalThis.sessionStorage : store;
      const kept = JSON.parse(this.#store?.getItem(this.#key) ?? '{}');
      if (typeof kept === 'object') {
        for (const [channel, position] of Object.entries(kept ?? {})) this.#put(channel, position);
      }
    } catch {
      // A store that is forbidden or holds junk is one that holds nothing.
    }
  }

  /** @param {string} channel */
  get(channel) {
    return this.#newest.get(channel);
  }

  /** Keeps it, or forgets the channel when there is none. @param {string} channel @param {unknown} [position] */
  set(channel, position) {
    if (!this.#put(channel, position)) this.#newest.delete(channel);
    this.#saveSoon();
  }

  /** From now on a reload begins here for that channel, until `unpin`. @param {string} channel */
  pin(channel) {
    if (!this.#pinned.has(channel)) this.#pinned.set(channel, this.get(channel));
  }

  /** @param {string} channel */
  unpin(channel) {
    if (this.#pinned.delete(channel)) this.#saveSoon();
  }

  /** Stands again where it was pinned. @param {string} channel */
  revert(channel) {
    this.set(channel, this.#pinned.get(channel));
  }

  /** As a `resume` frame has them. */
  toJSON() {
    return Object.fromEntries(this.#newest);
  }

  /** As the id of an event has them. */
  toString() {
    return [...this.#newest].map((entry) => entry.join('=')).join();
  }

  /** Writes at once what would be written soon. */
  save() {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    try {
      this.#store?.setItem(
        this.#key,
        JSON.stringify({ ...this.toJSON(), ...Object.fromEntries(this.#pinned) }),
      );
    } catch {
      // full or forbidden: a reload then begins without
    }
  }

  #saveSoon() {
    if (this.#store) this.#timer ??= setTimeout(() => this.save(), SAVE_GAP);
  }

  /** @param {string} channel @param {unknown} position */
  #put(channel, position) {
    if (typeof position !== 'string' || !FORM.test(position)) return false;
    this.#newest.delete(channel);
    this.#newest.set(channel, position);
    if (this.#newest.size > MAX_CHANNELS) this.#newest.delete([...this.#newest.keys()][0]);
    return true;
  }
}
