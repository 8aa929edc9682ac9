// What of the browser the tabs share a connection with: its locks tell who lives, and who holds the connection.

export const PREFIX = 'aldaba ';

/** @type {Set<string | undefined>} what this page may not use although it is there */
export const broken = new Set();
export const locks = () => (broken.has('locks') ? undefined : globalThis.navigator?.locks);

/** What a tab holds as long as it lives. @param {string} id */
export function lockOf(id) {
  return `${PREFIX}tab ${id}`;
}
