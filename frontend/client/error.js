/** What a refused or failed command rejects with. */
export class AldabaError extends Error {
  /**
   * @param {string} code of the hub's `error` frame, or the client's own: `offline`, `connection_lost`, `timeout`,
   *   `closed`, `unsubscribed`, `bad_token`, `bad_frame`, `no_history`, `receive_only`
   * @param {string} message
   * @param {number} [retryAfter] seconds after which the same command may succeed
   */
  constructor(code, message, retryAfter) {
    super(message);
    this.name = 'AldabaError';
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** @param {string} [who] */
export function noAnswer(who = 'the hub') {
  return new AldabaError('timeout', `${who} did not answer in time`);
}
