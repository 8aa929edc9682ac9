// aldaba: the client of the Aldaba hub, for browsers and Node. It speaks aldaba.v1 and depends on nothing.

import { Commands } from './commands.js';
import { AldabaError, noAnswer } from './error.js';
import { Holdback } from './holdback.js';
import { checkChannel, Listeners } from './listeners.js';
import { Positions, seen } from './positions.js';
import { SharedSocket, serve } from './shared-socket.js';
import { EventSocket } from './sse.js';
import { backoff, SECOND, Timers, upTo } from './time.js';
import { fetchToken, hasExpired, isFatal } from './token.js';

export { AldabaError };

/**
 * @typedef {'connecting' | 'open' | 'waiting' | 'closed'} State
 *   `connecting`: a connection is being made; `open`: welcomed by the hub; `waiting`: the next attempt comes at
 *   `retryAt`; `closed`: nothing more happens by itself.
 *
 * @typedef {'state' | 'message' | 'joined' | 'left' | 'resync' | 'read' | 'error'} EventName
 *
 * @typedef {object} StateInfo
 * @property {number} [retryAt] when waiting: the time of the next attempt, in milliseconds like Date.now()
 * @property {number} [code] when waiting or closed: the WebSocket close code
 * @property {string} [reason] when waiting or closed: why, in words
 *
 * @typedef {object} Message
 * @property {string} channel
 * @property {any} data the published JSON document, parsed
 * @property {string} [position] of channels with history; opaque
 *
 * @typedef {object} Page of the history
 * @property {Message[]} messages the oldest first
 * @property {boolean} more whether there is more in that direction
 *
 * @typedef {object} Options
 * @property {string | URL} [url] of the hub's WebSocket; may be relative to the page. Default: `/ws`
 * @property {() => string | Promise<string>} [getToken] gives a JWT. Asked before every connect and whenever the
 *   token is about to expire, so it must not hand out an old one. When it throws, the client tries again later, unless
 *   the error has `fatal: true`. Without getToken the hub is expected to read a cookie.
 * @property {string | Pick<Storage, 'getItem' | 'setItem'>} [store] keeps how far each channel was heard, so that a
 *   reload misses nothing that the hub still has: a name in sessionStorage, or a store of one's own
 * @property {boolean} [sse] whether server-sent events may stand in for a WebSocket that does not get through: they
 *   only receive. Default: true
 * @property {boolean | string} [share] whether the tabs of a browser share one connection: those of the same user, url
 *   and name. Default: false
 * @property {new (url: string, protocols: string[]) => any} [WebSocket] for runtimes that have no global one
 *
 * @typedef {object} Unread
 * @property {number} count
 * @property {string} [read] up to where the user has read, as far as it is known here
 *
 * @typedef {object} Subscription what the page asked for and is asked of the hub again after each reconnect
 * @property {Promise<void>} promise
 * @property {() => void} resolve
 * @property {(reason: Error) => void} reject
 * @property {boolean} held whether the hub has ever said `joined`
 */

const PROTOCOL = 'aldaba.v1';
const CONNECT_TIMEOUT = 15 * SECOND; // from the handshake to welcome; the hub gives up at ten
const STREAM_TIMEOUT = 15 * SECOND; // until a stream of events has brought what it was asked for
const QUIET = 25 * SECOND; // nothing heard for so long: ping
const DEAD = 10 * SECOND; // and nothing after the ping: gone
const STABLE = 5 * SECOND; // a session that lives so long ends the back-off
const BLOCKED = 2; // WebSockets that failed before any was welcomed: something in between does not let them through
const EVENTS_TIME = 300 * SECOND; // after which a reconnect tries a WebSocket again
const RESTART_SPREAD = 5 * SECOND;
const ASK_GAP = 60; // between two subscribes: the hub takes twenty frames a second
const RETRY_MARGIN = 100; // beyond what the hub says to wait, for its clock is not this one
const REFRESH_GAP = 5 * SECOND; // tokens that live less than a minute are `expiring` at once, again and again

const EXPIRED = 4401;
/** The closes that mean a bug of the client: coming back would only repeat it. */
const BUGS = [1002, 1003, 1007, 1009];

/**
 * Connects to a hub, and stays connected. Throws a TypeError when the URL is unusable or there is no way to connect.
 * @param {Options} [options]
 * @returns {Client}
 */
export function connect(options = {}) {
  return new Client(options);
}

/** One connection to a hub, kept up through reconnects. Made by `connect`. */
export class Client {
  #url;
  #getToken;
  #WebSocket;
  #sse;
  #share;
  #positions;
  /** @type {((frame: any, streamed: Set<string>) => void) | undefined} hears what the hub says, too */
  #tap;
  /** @type {Map<string, Unread>} the joined channels with history */
  #unread = new Map();

  /** @type {State} */
  #state = 'closed';
  /** @type {StateInfo} */
  #info = {};
  /** @type {any} the last welcome */
  #welcome = null;

  /** @type {any} the WebSocket of the present attempt */
  #socket = null;
  /** Counts attempts: whatever was awaited for an earlier one is void. */
  #attempt = 0;
  #failures = 0;
  #rejections = 0;
  /** How many WebSockets did not get through, and when the last of them was tried. One that did outweighs them all. */
  #blocked = 0;
  #triedAt = 0;
  /** @type {Set<string>} the channels that the present stream of events was asked for */
  #streamed = new Set();
  /** @type {string | undefined} the token of the present attempt */
  #token;
  /** @type {string | undefined} the token that the hub closed with 4401 */
  #spent;

  /** @type {Map<string, Subscription>} */
  #wanted = new Map();
  /** @type {Set<string>} */
  #joined = new Set();
  /**
   * Those that are to be left, until the hub has done it: nobody can count on them, or hears them.
   * @type {Map<string, Subscription>}
   */
  #leaving = new Map();
  /** @type {Set<string>} joined in an earlier session and not yet in this one: messages may have been missed */
  #missed = new Set();
  #asking = 0;

  #timers = new Timers();
  #commands = new Commands((frame) => this.#send(frame));

  #heard = 0;
  #probing = false;
  #expiring = false;
  #refreshing = 0;

  #errors = new Listeners(print);
  /** Tells of what rejects no promise. */
  #report = (/** @type {unknown} */ error) => {
    if (!this.#errors.of('error').length) print(error);
    this.#errors.tell('error', error);
  };

  /** By channel. */
  #handlers = new Listeners(this.#report);
  /** What fetches the state of a channel. */
  #refetches = new Listeners(this.#report);
  /** @type {Map<string, Holdback>} the channels whose state is being fetched */
  #held = new Map();
  /** By event. */
  #listeners = new Listeners(this.#report);

  /**
   * @param {Options} options
   * @param {any} [inner] for the connection that tabs share, and nobody else
   */
  constructor(
    { url = '/ws', getToken, store, sse = true, share, WebSocket = globalThis.WebSocket },
    inner = {},
  ) {
    const absolute = new URL(url, globalThis.location?.href);
    absolute.protocol = absolute.protocol.replace(/^http/, 'ws');
    if (!/^wss?:$/.test(absolute.protocol)) throw new TypeError('aldaba: not a WebSocket url');
    absolute.hash = ''; // the WebSocket constructor refuses fragments
    this.#url = absolute.href;
    this.#sse = sse && /\/ws$/.test(absolute.pathname);
    if (!WebSocket && !this.#sse) throw new TypeError('aldaba: no WebSocket');
    this.#getToken = getToken;
    this.#WebSocket = WebSocket;
    this.#share = share;
    this.#positions = inner.positions ?? new Positions(store);
    this.#tap = inner.tap;
    inner.wake = () => this.#look();
    inner.demand = (/** @type {any} */ frame) => this.#now(frame);
    this.#listenToPage(true);
    this.#connect();
  }

  /** The present state. */
  get state() {
    return this.#state;
  }

  /** The user the hub took the token for; null before the first welcome. @returns {string | null} */
  get user() {
    return this.#welcome?.user ?? null;
  }

  /** The id of the latest session; null before the first welcome. @returns {string | null} */
  get session() {
    return this.#welcome?.session ?? null;
  }

  /** The channels that are joined now. @returns {string[]} */
  get channels() {
    return [...this.#joined].filter((channel) => !this.#leaving.has(channel));
  }

  /**
   * Calls fn for each message of a channel, joined or not yet. It does not subscribe: channels that the token's claims
   * yield are joined by the hub, others need `subscribe`.
   * @param {string} channel not empty; anything else is a TypeError, here and below
   * @param {(data: any, message: Message) => void} fn
   * @returns {() => void} takes the handler off
   */
  on(channel, fn) {
    return this.#handlers.add(channel, fn);
  }

  /**
   * Calls fn for each message of every channel.
   * @param {(message: Message) => void} fn
   * @returns {() => void} takes the listener off, as with all that follow
   */
  onMessage(fn) {
    return this.#listeners.add('message', fn);
  }

  /**
   * Calls fn with the present state, now, and with each that follows.
   * @param {(state: State, info: StateInfo) => void} fn
   */
  onState(fn) {
    const off = this.#listeners.add('state', fn);
    this.#listeners.call(fn, this.#state, this.#info);
    return off;
  }

  /**
   * Calls fn when messages of a joined channel have been missed or may have been: the hub said so, or the client was
   * away and cannot be told what it missed. A page that shows state fetches it anew.
   *
   * With a channel, fn fetches the state of that channel. While it runs, messages of the channel are held back; they are
   * delivered afterwards, in order, and may be part of what was fetched. When it fails it is called again, later.
   * @overload
   * @param {(channel: string) => void} channel
   * @returns {() => void}
   *
   * @overload
   * @param {string} channel
   * @param {(channel: string) => unknown} fn
   * @returns {() => void}
   *
   * @param {any} channel
   * @param {any} [fn]
   */
  onResync(channel, fn) {
    if (typeof channel === 'function') return this.#listeners.add('resync', channel);
    return this.#refetches.add(channel, fn);
  }

  /**
   * Calls fn when a channel is joined, after each connect anew.
   * @param {(channel: string) => void} fn
   */
  onJoined(fn) {
    return this.#listeners.add('joined', fn);
  }

  /**
   * Calls fn when a channel is no longer received although the connection stands: `unsubscribed`, `revoked`, or the
   * code with which the hub refused it after a reconnect.
   * @param {(channel: string, reason: string) => void} fn
   */
  onLeft(fn) {
    return this.#listeners.add('left', fn);
  }

  /**
   * Calls fn when the number of a channel's unread messages changes: one arrives, or the user reads here or elsewhere.
   * @param {(channel: string, unread: number) => void} fn
   */
  onRead(fn) {
    return this.#listeners.add('read', fn);
  }

  /**
   * Calls fn with what went wrong and rejects no promise: a handler that threw, a getToken that failed, an `error` frame
   * that answers no command. Without a listener these go to the console.
   * @param {(error: any) => void} fn
   */
  onError(fn) {
    return this.#errors.add('error', fn);
  }

  /**
   * Asks for a channel, now or once connected, and again after each reconnect. Resolves when the hub has joined it;
   * rejects with an AldabaError, and is forgotten, when the hub refuses. Asking too fast is no refusal: the client paces
   * itself, and asks again when it is told to wait.
   * @param {string} channel
   * @returns {Promise<void>}
   */
  subscribe(channel) {
    let want = this.#state !== 'closed' && this.#wanted.get(channel);
    if (!want) {
      want = subscription();
      this.#want(channel, want).catch(want.reject);
    }
    return want.promise;
  }

  /** @param {string} channel @param {Subscription} want */
  async #want(channel, want) {
    checkChannel(channel);
    if (this.#state === 'closed') throw new AldabaError('closed', 'cannot subscribe while closed');
    this.#wanted.set(channel, want);
    if (this.#joined.has(channel)) this.#hold(channel);
    else if (this.#state === 'open') this.#ask();
  }

  /**
   * Leaves a channel and asks for it no more. A channel that the claims yield comes back with the next connect.
   * @param {string} channel
   * @returns {Promise<void>}
   */
  async unsubscribe(channel) {
    checkChannel(channel);
    const want = this.#wanted.get(channel);
    if (!want && !this.#joined.has(channel)) return;
    if (this.#receiveOnly && this.#joined.has(channel) && !this.#streamed.has(channel))
      throw new AldabaError('receive_only', 'cannot unsubscribe');
    this.#forgo(channel);
    want?.reject(new AldabaError('unsubscribed', 'unsubscribed'));
    if (this.#state !== 'open' && !this.#receiveOnly && !this.#socket?.shared) return;
    const leave = this.#leaving.get(channel) ?? subscription();
    this.#leaving.set(channel, leave);
    if (this.#receiveOnly) {
      this.#leave(channel, 'unsubscribed');
      leave.resolve(); // another stream will not be asked for it
    }
    if (this.#state === 'open' || this.#receiveOnly) this.#ask();
    else this.#send({ type: 'unsubscribe', channel }); // who holds the shared connection asks for it by itself
    await leave.promise;
  }

  /**
   * Publishes a JSON document. Resolves when the broker has it. Rejects at once with the code `offline` when the client
   * is not open, with `receive_only` over server-sent events, with `rate_limited` and `retryAfter` when there were too many frames in a second, and with
   * `connection_lost` or `timeout` when nobody knows whether it was published.
   * @param {string} channel
   * @param {any} data
   * @returns {Promise<void>}
   */
  async publish(channel, data) {
    await this.#now({ type: 'publish', channel, data });
  }

  /**
   * How many messages of a joined channel the user has not read; undefined for one without history.
   * @param {string} channel
   * @returns {number | undefined}
   */
  unread(channel) {
    return this.#unread.get(channel)?.count;
  }

  /**
   * Marks a channel as read, for all devices of the user, and resolves with what is unread then. Rejects as `publish`
   * does, with `no_history`, and with `gone` when so many messages came since that the position is not kept any more.
   * @param {string} channel
   * @param {string} [position] up to where; by default up to the newest message that was heard
   * @returns {Promise<number>}
   */
  async ack(channel, position = this.#positions.get(channel)) {
    checkChannel(channel);
    if (!position) throw new AldabaError('no_history', 'no history');
    await this.#now({ type: 'ack', channel, position });
    return this.unread(channel) ?? 0;
  }

  /**
   * Asks for messages that the hub has kept, without an effect on what is heard. Without `before` or `after`: the newest.
   * Rejects as `publish` does, with `no_history` where none are kept, and with `gone` when a position is too old.
   * @param {string} channel
   * @param {{before?: string, after?: string, limit?: number}} [range] positions of messages; at most so many
   * @returns {Promise<Page>}
   */
  async history(channel, { before, after, limit } = {}) {
    const { messages, more } = await this.#now({ type: 'history', channel, before, after, limit });
    return { messages: messages.map((/** @type {object} */ message) => ({ channel, ...message })), more };
  }

  /** Connects at once when waiting or closed; a new start for the back-off. No effect otherwise. */
  reconnect() {
    if (this.#state !== 'waiting' && this.#state !== 'closed') return;
    if (this.#socket) {
      this.#send({ type: 'wake' }); // the waiting is that of the shared connection
      return;
    }
    this.#failures = this.#rejections = 0;
    this.#spent = undefined;
    this.#listenToPage(true);
    this.#connect();
  }

  /** Closes for good. Whatever was not answered rejects with the code `closed`. */
  close() {
    if (this.#state !== 'closed') this.#end(1000, 'closed by client');
  }

  // Connecting

  async #connect() {
    this.#teardown('connection_lost');
    const attempt = this.#attempt;
    this.#set('connecting', {});
    if (attempt !== this.#attempt) return;
    if (this.#shares()) {
      this.#open();
      return;
    }
    try {
      this.#token = await fetchToken(this.#getToken, this.#timers);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      this.#report(error);
      if (attempt !== this.#attempt) return;
      if (isFatal(error)) this.#end(EXPIRED, String(/** @type {any} */ (error).message));
      else this.#retry(1006, 'getToken failed');
      return;
    }
    if (attempt !== this.#attempt) return;
    if (this.#token && this.#token === this.#spent) {
      this.#end(EXPIRED, 'getToken gave the same token again');
      return;
    }
    this.#open();
  }

  #open() {
    this.#timers.later('connect', CONNECT_TIMEOUT, () => this.#noWelcomeInTime());
    let socket;
    try {
      socket = this.#socket = this.#newSocket();
    } catch (error) {
      this.#report(error); // such as ws: from an https: page
      this.#lost(1006, 'no WebSocket');
      return;
    }
    socket.onmessage = (/** @type {{data: unknown}} */ event) => this.#hear(event.data);
    socket.onclose = (/** @type {{code: number, reason: string, retryAfter?: number}} */ event) =>
      this.#lost(event.code, event.reason, event.retryAfter);
    socket.onerror = () => {}; // a close always follows, and knows more
  }

  /** @returns {any} */
  #newSocket() {
    if (this.#shares()) return this.#sharedSocket();
    return this.#takesEvents() ? this.#eventSocket() : this.#webSocket();
  }

  #shares() {
    return this.#share && SharedSocket.way(import.meta.url);
  }

  #sharedSocket() {
    const make = (/** @type {Options} */ options, /** @type {any} */ inner) =>
      new Client({ ...options, WebSocket: this.#WebSocket }, inner);
    const socket = new SharedSocket(`${this.#share} ${this.#url}`, import.meta.url, make);
    socket.onopen = () => this.#hello();
    return socket;
  }

  /** Tells whoever holds the shared connection, now or from now on, what this tab knows. */
  #hello() {
    this.#drop('connection_lost');
    const attempt = this.#attempt;
    this.#timers.later('connect', CONNECT_TIMEOUT, () => this.#noWelcomeInTime());
    if (this.#state !== 'connecting') this.#set('connecting', {});
    if (attempt !== this.#attempt) return;
    this.#send({
      type: 'resume',
      tab: this.#socket.id,
      positions: this.#positions,
      url: this.#url,
      sse: this.#sse,
      token: this.#getToken !== undefined,
    });
  }

  /** The shared connection is not open. @param {{state: State, info: any}} frame */
  #follow({ state, info }) {
    if (state === 'closed') {
      this.#end(info.code, info.reason);
      return;
    }
    this.#drop(); // whoever holds it answers
    this.#watch();
    this.#set(state, info);
  }

  /** The shared connection takes the token of this tab. */
  async #giveToken() {
    const socket = this.#socket;
    const answer = await fetchToken(this.#getToken, this.#timers).then(
      (token) => ({ token }),
      (error) => ({ error: String(error?.message), fatal: isFatal(error) }),
    );
    socket.send(JSON.stringify({ type: 'token', ...answer }));
  }

  /** @returns {any} */
  #webSocket() {
    const url = new URL(this.#url);
    const resume = String(this.#positions) !== '';
    if (resume) url.search += url.search ? '&resume' : '?resume';
    const socket = new this.#WebSocket(
      url.href,
      this.#token ? [PROTOCOL, `bearer.${this.#token}`] : [PROTOCOL],
    );
    if (resume) socket.onopen = () => this.#send({ type: 'resume', positions: this.#positions });
    return socket;
  }

  /** @returns {any} */
  #eventSocket() {
    const url = new URL(this.#url.replace(/^ws/, 'http'));
    url.pathname = url.pathname.replace(/ws$/, 'sse');
    for (const channel of this.#wanted.keys()) {
      this.#streamed.add(channel);
      url.searchParams.append('channel', channel);
    }
    const socket = new EventSocket(url.href, this.#token, this.#positions.toString());
    socket.onbeat = () => this.#live();
    return socket;
  }

  #takesEvents() {
    if (!this.#sse || !this.#WebSocket) return this.#sse;
    return this.#blocked >= BLOCKED && Date.now() - this.#triedAt < EVENTS_TIME;
  }

  #noWelcomeInTime() {
    // Whoever holds a shared connection says something at once. One that does not may be a tab that the browser froze.
    if (this.#socket.shared) SharedSocket.giveUp(import.meta.url);
    this.#lost(1006, 'no welcome');
  }

  /** Keeps count of what does not get through. */
  #noWelcome() {
    if (this.#receiveOnly) {
      this.#blocked = BLOCKED - 1; // events neither: it may just be the hub, so the next is a WebSocket
    } else if (globalThis.navigator?.onLine !== false) {
      this.#blocked++;
      this.#triedAt = Date.now();
    }
  }

  get #receiveOnly() {
    return this.#socket?.receiveOnly;
  }

  /** Ends what belongs to the present attempt. @param {string} code with which commands reject */
  #teardown(code) {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    }
    this.#drop(code);
  }

  /** @param {string} [code] unless commands may still be answered */
  #drop(code) {
    this.#attempt++;
    this.#timers.stopAll();
    this.#probing = this.#expiring = false;
    for (const channel of this.channels) this.#missed.add(channel);
    this.#joined.clear();
    this.#streamed.clear();
    if (!code) return;
    for (const channel of this.#leaving.keys()) this.#quit(channel); // nothing is joined any more
    this.#commands.end(code);
  }

  /**
   * The connection has ended, before or after welcome.
   * @param {number} code
   * @param {string} reason
   * @param {number} [retryAfter] seconds
   */
  #lost(code, reason, retryAfter) {
    if (this.#state === 'connecting' && code === 1006) this.#noWelcome();
    if (this.#state === 'connecting' && hasExpired(this.#token)) {
      // A refused upgrade does not say why; told only now, for the hub may have the better clock.
      const attempt = this.#attempt;
      this.#report(new AldabaError('bad_token', 'getToken gave an expired token'));
      if (attempt !== this.#attempt) return;
    }
    if (code === EXPIRED) {
      this.#spent = this.#token;
      this.#rejections++;
    }
    const refused = code >= 4400 && code <= 4499;
    const comesBack = code === EXPIRED && this.#rejections < 2;
    if (BUGS.includes(code) || (refused && !comesBack)) this.#end(code, reason);
    else this.#retry(code, reason, retryAfter);
  }

  /** @param {number} code @param {string} reason @param {number} [retryAfter] */
  #retry(code, reason, retryAfter = 0) {
    this.#teardown('connection_lost');
    const jitter = code === 4001 ? upTo(RESTART_SPREAD) : backoff(this.#failures);
    const wait = retryAfter * SECOND + jitter;
    this.#failures++;
    this.#timers.later('retry', wait, () => this.#connect());
    this.#set('waiting', { retryAt: Date.now() + wait, code, reason });
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    this.#teardown('closed');
    for (const channel of this.#held.keys()) {
      this.#positions.revert(channel); // so that the next connect tells of the gap again
      this.#unhold(channel);
    }
    this.#positions.save();
    this.#listenToPage(false);
    this.#state = 'closed'; // before promises reject: who hears of it sees it
    for (const [channel, want] of this.#wanted) {
      if (want.held) continue;
      this.#wanted.delete(channel);
      want.reject(new AldabaError('closed', reason || `closed ${code}`));
    }
    this.#set('closed', { code, reason });
  }

  // Hearing

  #live() {
    this.#heard = Date.now();
    this.#probing = false;
  }

  /** @param {unknown} text */
  #hear(text) {
    this.#live();
    let frame;
    try {
      frame = this.#socket.shared ? text : JSON.parse(/** @type {string} */ (text));
    } catch {
      this.#report(new AldabaError('bad_frame', 'not JSON'));
      return;
    }
    if (!frame) return;
    this.#take(frame);
    this.#commands.settle(frame);
    this.#tap?.(frame, this.#streamed);
  }

  /** @param {any} frame */
  #take(frame) {
    switch (frame.type) {
      case 'welcome':
        this.#welcomed(frame);
        break;
      case 'message':
        this.#receive(frame);
        break;
      case 'joined':
        if (!this.#joined.has(frame.channel)) this.#enter(frame);
        break;
      case 'left':
        this.#leave(frame.channel, frame.reason);
        if (this.#state === 'open') this.#ask();
        break;
      case 'resync':
        this.#lose(frame);
        break;
      case 'state':
        if (this.#socket.shared) this.#follow(frame);
        break;
      case 'token':
        if (this.#socket.shared) this.#giveToken();
        break;
      case 'close':
        if (this.#receiveOnly) this.#lost(frame.code, frame.reason);
        break;
      case 'expiring':
        this.#expiring = true;
        this.#refresh();
        break;
      case 'read':
      case 'acked':
        this.#read(frame);
        break;
      case 'error':
        this.#refused(frame);
        break;
      default: // an answer and no more, or of a hub newer than this client
    }
  }

  /** @param {any} frame */
  #welcomed(frame) {
    const attempt = this.#attempt;
    this.#welcome = frame;
    this.#timers.stop('connect');
    if (!this.#receiveOnly) this.#blocked = -Infinity;
    this.#timers.later('stable', STABLE, () => {
      this.#failures = this.#rejections = 0;
    });
    this.#watch();
    const entries = (frame.channels ?? []).filter(
      (/** @type {any} */ { channel }) => !this.#leaving.has(channel),
    );
    for (const { channel } of entries) this.#joined.add(channel);
    this.#set('open', {});
    for (const entry of entries) {
      if (attempt === this.#attempt) this.#enter(entry);
    }
    if (attempt === this.#attempt) this.#ask();
  }

  /** @param {any} entry of welcome, or a `joined` */
  #enter({ channel, position, recovered, unread }) {
    this.#joined.add(channel);
    const heard = this.#positions.get(channel);
    const stays = heard && heard === position;
    const lost = (this.#missed.delete(channel) || heard) && !recovered && !stays;
    // A welcome of a shared connection may be late: more was heard since it was asked for.
    if (!lost) this.#positions.set(channel, seen(position, heard) ? heard : position);
    this.#hold(channel);
    this.#listeners.tell('joined', channel);
    this.#count(channel, unread);
    if (lost && this.#joined.has(channel)) this.#lose({ channel, position });
  }

  /** @param {string} channel @param {number | undefined} count @param {string} [read] */
  #count(channel, count, read) {
    const last = this.#unread.get(channel);
    if (count === undefined) this.#unread.delete(channel);
    else this.#unread.set(channel, { count, read: read ?? last?.read });
    if (count !== undefined && count !== last?.count) this.#listeners.tell('read', channel, count);
  }

  /**
   * The user has read up to there. The hub's number may include messages that are still on their way; they count when
   * they come. An `acked` may be late; the `read` that every session is sent stands in order with the messages.
   * @param {any} frame a `read` or `acked`
   */
  #read({ type, channel, position, unread }) {
    if (!this.#joined.has(channel) || (type === 'acked' && seen(position, this.#unread.get(channel)?.read)))
      return;
    this.#count(channel, seen(this.#positions.get(channel), position) ? 0 : unread, position);
  }

  /** Messages are missing from here on back. @param {{channel: string, position?: string}} frame */
  #lose({ channel, position }) {
    const holds = this.#refetches.of(channel).length > 0;
    if (holds) this.#positions.pin(channel);
    this.#positions.set(channel, position); // even if it is behind: Redis may have lost what came after
    const held = this.#held.get(channel);
    if (held) held.again();
    else if (holds) this.#refetch(channel);
    this.#listeners.tell('resync', channel);
  }

  /** Has the page fetch the state of a channel, and then hear what came meanwhile. @param {string} channel */
  async #refetch(channel) {
    const held = new Holdback();
    this.#held.set(channel, held);
    const fetch = () => Promise.all(this.#refetches.of(channel).map((fn) => fn(channel)));
    const messages = await held.run(fetch, (error, failures) => {
      this.#report(error);
      return backoff(failures);
    });
    if (this.#held.get(channel) !== held) return;
    this.#held.delete(channel);
    this.#positions.unpin(channel);
    for (const message of messages) this.#deliver(message);
  }

  /** Ends the fetching, and what was held back is dropped. @param {string} channel */
  #unhold(channel) {
    this.#held.get(channel)?.end();
    this.#held.delete(channel);
    this.#positions.unpin(channel);
  }

  /** @param {any} frame a `message` */
  #receive(frame) {
    const { channel, position } = frame;
    if (seen(position, this.#positions.get(channel)) || this.#leaving.has(channel)) return;
    if (position) this.#positions.set(channel, position);
    const unread = this.#unread.get(channel);
    if (unread && !seen(position, unread.read)) this.#count(channel, unread.count + 1);
    const held = this.#held.get(channel);
    if (held) held.hold(frame);
    else this.#deliver(frame);
  }

  /** @param {any} frame a `message` */
  #deliver(frame) {
    this.#listeners.tell('message', frame);
    this.#handlers.tell(frame.channel, frame.data, frame);
  }

  /** @param {string} channel @param {string} reason */
  #leave(channel, reason) {
    const had = this.#joined.delete(channel);
    this.#clear(channel);
    if (!this.#receiveOnly) this.#quit(channel);
    // An answer to unsubscribe may cross a new subscribe; only the hub's own decision ends what the page wants.
    if (reason !== 'unsubscribed') {
      const want = this.#wanted.get(channel);
      this.#wanted.delete(channel);
      this.#streamed.delete(channel);
      want?.reject(new AldabaError(reason, reason)); // if it was asked for anew
    }
    if (had) this.#listeners.tell('left', channel, reason);
  }

  /** The channel is left, as far as anybody knows. @param {string} channel @param {AldabaError} [error] */
  #quit(channel, error) {
    const leave = this.#leaving.get(channel);
    if (!leave) return;
    this.#leaving.delete(channel);
    this.#joined.delete(channel);
    if (error && error.code !== 'not_joined') leave.reject(error);
    else leave.resolve();
  }

  /** Nothing more is expected of the channel. @param {string} channel */
  #forgo(channel) {
    this.#wanted.delete(channel);
    this.#missed.delete(channel);
    this.#clear(channel);
  }

  /** Whatever is known of the channel no longer counts. @param {string} channel */
  #clear(channel) {
    this.#unhold(channel);
    this.#unread.delete(channel);
    this.#positions.set(channel);
  }

  /** Who asked for the channel has it, unless it is about to be left: then it is asked for again. @param {string} channel */
  #hold(channel) {
    const want = this.#wanted.get(channel);
    if (!want || this.#leaving.has(channel)) return;
    want.held = true;
    want.resolve();
  }

  /** @param {any} frame */
  #refused({ id, code, message, retry_after, channel }) {
    const error = new AldabaError(code, message, retry_after);
    const want = this.#receiveOnly && this.#wanted.get(channel);
    if (want) {
      if (!mayComeLater(error, want)) this.#giveUp(channel, want, error);
      return;
    }
    if (!this.#commands.refuse(id, error) && !id) this.#report(error); // an answer may be late
  }

  // Commands

  /** A command that is not worth waiting for a connection. @param {any} frame @returns {Promise<any>} */
  async #now(frame) {
    checkChannel(frame.channel);
    if (this.#state !== 'open') throw new AldabaError('offline', `cannot ${frame.type} while ${this.#state}`);
    if (this.#receiveOnly)
      throw new AldabaError('receive_only', `cannot ${frame.type} over server-sent events`);
    return this.#commands.ask(frame);
  }

  /** @param {object} frame */
  #send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  /**
   * Asks for what is wanted and not joined, one channel at a time, for the hub works on one command at a time too. On a
   * fast connection that alone would run into its rate limit, after a reconnect with many channels: hence the gap, which
   * also stands between one call and the next. Other frames count too, so `rate_limited` may come nevertheless.
   */
  async #ask() {
    if (this.#receiveOnly) {
      this.#askAnew();
      return;
    }
    const attempt = this.#attempt;
    if (this.#asking === attempt) return;
    this.#asking = attempt;
    for (;;) {
      const [gone] = this.#leaving.keys();
      const channel = gone ?? [...this.#wanted.keys()].find((name) => !this.#joined.has(name));
      if (!channel) break;
      const want = /** @type {Subscription} */ (this.#wanted.get(channel));
      const gap = this.#timers.pause('gap', ASK_GAP);
      const position = this.#positions.get(channel);
      const frame = gone ? { type: 'unsubscribe', channel } : { type: 'subscribe', channel, position };
      const error = await this.#commands.ask(frame).then(
        () => undefined,
        (/** @type {AldabaError} */ reason) => reason,
      );
      if (attempt !== this.#attempt) return;
      if (error && (gone ? error.code === 'rate_limited' : mayComeLater(error, want)))
        await this.#timers.pause('ask', (error.retryAfter ?? 1) * SECOND + RETRY_MARGIN);
      else if (gone) this.#quit(gone, error);
      else if (this.#wanted.get(channel) === want && !this.#joined.has(channel))
        this.#giveUp(channel, want, error);
      await gap;
    }
    this.#asking = 0;
  }

  /**
   * A stream of events is asked for its channels once: others take another stream, a little later, for there may be more
   * to come. Those that it was asked for and that do not come are given up.
   */
  #askAnew() {
    const missing = [...this.#wanted.keys()].filter((channel) => !this.#joined.has(channel));
    if (this.#leaving.size || missing.some((channel) => !this.#streamed.has(channel)))
      this.#timers.later('ask', ASK_GAP, () => this.#connect());
    else if (missing.length) this.#timers.later('ask', STREAM_TIMEOUT, () => this.#noAnswer());
  }

  #noAnswer() {
    for (const [channel, want] of this.#wanted) {
      if (this.#joined.has(channel) || want.held) continue;
      this.#giveUp(channel, want);
    }
  }

  /** The hub will not join it. @param {string} channel @param {Subscription} want @param {AldabaError} [error] */
  #giveUp(channel, want, error = noAnswer()) {
    this.#streamed.delete(channel);
    this.#forgo(channel);
    want.reject(error);
    if (want.held) this.#listeners.tell('left', channel, error.code);
  }

  /** Answers `expiring` with a fresh token, and keeps trying until the hub takes it or cuts the session. */
  async #refresh() {
    const attempt = this.#attempt;
    if (!this.#getToken || this.#receiveOnly || this.#refreshing === attempt) return;
    this.#refreshing = attempt;
    for (let failures = 0; this.#expiring; ) {
      this.#expiring = false;
      let wait = REFRESH_GAP;
      try {
        const token = await fetchToken(this.#getToken, this.#timers);
        if (attempt !== this.#attempt) return;
        if (token === this.#token) throw new AldabaError('bad_token', 'getToken gave the same token again');
        await this.#commands.ask({ type: 'refresh', token });
        if (attempt !== this.#attempt) return;
        this.#token = token;
        failures = 0;
      } catch (error) {
        if (attempt !== this.#attempt) return;
        this.#report(error);
        if (isFatal(error)) break;
        this.#expiring = true;
        wait = backoff(failures++) / 2;
      }
      if (attempt !== this.#attempt) return;
      await this.#timers.pause('refresh', wait);
    }
    this.#refreshing = 0;
  }

  // Noticing a dead connection: a page cannot see the hub's pings.

  #watch() {
    const left = Math.min(QUIET, this.#heard + QUIET - Date.now());
    if (left > 0) this.#timers.later('watch', left, () => this.#watch());
    else this.#probe();
  }

  #probe() {
    if (this.#probing) return;
    if (!this.#receiveOnly) this.#send({ type: 'ping' });
    else if (Date.now() - this.#heard < QUIET) return; // its next heartbeat tells
    this.#probing = true;
    this.#timers.later('watch', DEAD, () => {
      if (this.#probing) this.#lost(1006, 'silence');
      else this.#watch();
    });
  }

  /** The page is seen again, or the network is back: look at once. */
  #wake = () => {
    if (globalThis.document?.visibilityState !== 'hidden') this.#look();
  };

  #look() {
    if (this.#socket?.shared) this.#send({ type: 'wake' });
    if (this.#state === 'open') this.#probe();
    else if (this.#state === 'waiting' && !this.#socket) this.reconnect();
  }

  /** The page goes, or sleeps: then others must not count on it, and it comes back when it wakes. */
  #leavePage = () => {
    this.#positions.save();
    if (this.#socket?.shared) this.#retry(1006, '');
  };

  /** @param {boolean} yes */
  #listenToPage(yes) {
    const verb = yes ? 'addEventListener' : 'removeEventListener';
    globalThis[verb]?.('online', this.#wake);
    globalThis[verb]?.('pagehide', this.#leavePage);
    globalThis.document?.[verb]('visibilitychange', this.#wake);
    globalThis.document?.[verb]('freeze', this.#leavePage);
  }

  // Telling

  /** @param {State} state @param {StateInfo} info */
  #set(state, info) {
    this.#state = state;
    this.#info = info;
    this.#listeners.tell('state', state, info);
  }
}

/** @param {unknown} error */
function print(error) {
  console.error('aldaba:', error);
}

/** @returns {Subscription} */
function subscription() {
  const want = /** @type {Subscription} */ ({ held: false });
  want.promise = new Promise((resolve, reject) => {
    want.resolve = resolve;
    want.reject = reject;
  });
  return want;
}

/**
 * Whether to ask again for a channel: always when asking was too fast, and as long as it may help for one that the
 * page had already. A first refusal is the page's to judge.
 * @param {AldabaError} error
 * @param {Subscription} want
 */
function mayComeLater({ code, retryAfter }, want) {
  return code === 'rate_limited' || (want.held && (code === 'timeout' || retryAfter !== undefined));
}

serve((options, inner) => new Client(options, inner));
