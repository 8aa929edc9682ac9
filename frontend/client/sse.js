// The way around a WebSocket that something in between does not let through: server-sent events.

const BROKEN = 1006;
const LATER = 4000;
/** Statuses of refusals that a client cannot mend by coming back. Close codes of the same meaning are 4000 more. */
const FINAL = [400, 401, 403];

/**
 * A stream of the hub's frames that looks like a WebSocket but cannot send. EventSource would do, but for the token: it
 * cannot set a header.
 */
export class EventSocket {
  receiveOnly = true;
  /** @type {((event: {data: string}) => void) | null} */
  onmessage = null;
  /** @type {((event: {code: number, reason: string, retryAfter?: number}) => void) | null} */
  onclose = null;
  /** Called whenever anything comes, be it a heartbeat. @type {() => void} */
  onbeat = () => {};
  #abort = new AbortController();

  /** @param {string} url @param {string | undefined} token @param {string | undefined} lastEventId */
  constructor(url, token, lastEventId) {
    /** @type {Record<string, string>} */
    const headers = { Accept: 'text/event-stream' };
    if (token) headers.Authorization = `Bearer ${token}`;
    if (lastEventId) headers['Last-Event-ID'] = lastEventId;
    this.#run(url, {
      headers,
      credentials: token ? undefined : 'include', // else as the browser does
      cache: 'no-store',
      redirect: 'error',
      signal: this.#abort.signal,
    });
  }

  close() {
    this.#abort.abort();
  }

  /** @param {string} url @param {RequestInit} options */
  async #run(url, options) {
    try {
      const response = await fetch(url, options);
      if (response.headers.get('Content-Type')?.startsWith('text/event-stream')) await this.#read(response);
      else await this.#refused(response);
    } catch {
      this.#end(BROKEN);
    }
  }

  /** What is no answer of a hub, such as the page of a proxy, decides nothing. @param {Response} response */
  async #refused(response) {
    const { status } = response;
    if (status === 204) return this.#end(4403); // what ends an EventSource
    const { type, message, retry_after } = await response.json();
    const code = FINAL.includes(status) ? LATER + status : LATER;
    return this.#end(type === 'error' ? code : BROKEN, message, retry_after);
  }

  /** @param {Response} response */
  async #read({ body }) {
    const reader = /** @type {any} */ (body).pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    /** @type {string[]} */
    let lines = [];
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return this.#end(BROKEN);
      this.onbeat();
      const parts = (rest + value).split(/\r?\n/);
      rest = /** @type {string} */ (parts.pop());
      for (const line of parts) {
        if (line) lines.push(line);
        else lines = this.#event(lines);
      }
    }
  }

  /** @param {string[]} lines of one event @returns {string[]} none, for the next */
  #event(lines) {
    const data = lines.filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart());
    if (data.length) this.onmessage?.({ data: data.join('\n') });
    return [];
  }

  /** @param {number} code @param {string} [reason] @param {number} [retryAfter] */
  #end(code, reason = '', retryAfter) {
    this.onclose?.({ code, reason, retryAfter });
    this.close();
  }
}
