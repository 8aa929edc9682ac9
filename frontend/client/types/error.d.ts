/** What a refused or failed command rejects with. */
export declare class AldabaError extends Error {
    code: string;
    retryAfter: number | undefined;
    /**
     * @param {string} code of the hub's `error` frame, or the client's own: `offline`, `connection_lost`, `timeout`,
     *   `closed`, `unsubscribed`, `bad_token`, `bad_frame`, `no_history`, `receive_only`
     * @param {string} message
     * @param {number} [retryAfter] seconds after which the same command may succeed
     */
    constructor(code: string, message: string, retryAfter?: number);
}
/** @param {string} [who] */
export declare function noAnswer(who?: string): AldabaError;
