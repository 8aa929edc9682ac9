// One connection for all tabs of a browser. It is held by a SharedWorker, which runs the client, too, or else by one of
// the tabs, the leader, whom the others reach through a BroadcastChannel. To a tab it looks like a WebSocket to a hub.

import { lockOf, locks } from './locks.js';
import { Positions, seen } from './positions.js';
import { SECOND, Timers } from './time.js';

/**
 * @typedef {Pick<import('./aldaba.js').Client, 'state' | 'channels' | 'unread' | 'subscribe' | 'unsubscribe' | 'close'
 *   | 'onState' | 'onLeft' | 'onResync' | 'onError'>} Client
 * @typedef {(options: any, inner: any) => Client} Make a client that serves tabs, see the class
 *
 * @typedef {object} Link to a tab
 * @property {(frame: object) => void} send
 * @property {boolean} token whether the tab can give one
 * @property {Record<string, string>} reached up to where it has heard
 * @property {Set<string>} wants the channels it has asked for
 * @property {Set<string>} hears the channels that it has joined
 * @property {Map<string, any>} asking the ids of its commands that wait for a channel
 */

const MAX_RECENT = 100; // messages of one channel, for tabs that have heard less; the hub is asked for what came before

/** The connection that the tabs share, where it is held. */
export class Share {
  /** @type {Map<string, Link>} */
  #links = new Map();
  /** @type {Client | undefined} */
  #client;
  /** What the client lends: `demand` sends a command, `wake` looks whether the connection lives @type {any} */
  #inner;
  /** @type {any} the last welcome */
  #welcome;
  /** @type {any} what tabs are told when there is none */
  #state;
  /** @type {Set<string>} the channels that the token's claims yield: they are every tab's */
  #yielded = new Set();
  /** @type {Map<string, any>} what came last of channels with history, behind one that says from where on, and whether
   *   nothing was lost when they were joined */
  #recent = new Map();
  /** The tab that was asked for a token, and what waits for its answer. @type {any} */
  #asked;
  /** The hub is asked for one stretch at a time: it counts what it is asked. @type {Promise<void> | undefined} */
  #turn;
  #make;

  /** @param {Make} make */
  constructor(make) {
    this.#make = make;
  }

  /**
   * A tab has said something.
   * @param {string} id of the tab
   * @param {(frame: object) => void} send
   * @param {any} frame
   */
  take(id, send, frame) {
    if (frame.type === 'resume') return this.#greet(id, send, frame);
    const link = this.#links.get(id);
    if (!link) return;
    switch (frame.type) {
      case 'subscribe':
        this.#subscribe(link, frame);
        break;
      case 'unsubscribe':
        this.#unsubscribe(link, frame);
        break;
      case 'ping':
        link.send({ type: 'pong' });
        break;
      case 'wake':
        this.#inner.wake();
        break;
      case 'token':
        if (this.#asked?.link === link) this.#given(frame);
        break;
      case 'bye':
        this.drop(id);
        break;
      default: // is for the hub
        this.#inner.demand(frame).then(
          (/** @type {object} */ answer) => link.send({ ...answer, id: frame.id }),
          (/** @type {any} */ error) => refuse(link, frame.id, error),
        );
    }
  }

  /** A tab is gone. @param {string} id */
  drop(id) {
    const link = this.#links.get(id);
    if (!link) return;
    this.#links.delete(id);
    if (!this.#links.size) return this.end();
    for (const channel of link.wants) this.#release(channel);
    if (this.#asked?.link === link) this.#asked.resolve?.(this.#askToken());
  }

  /** Ends the connection without a word to the tabs. */
  end() {
    this.#links.clear();
    this.#client?.close();
    this.#client = undefined;
  }

  // What tabs say

  /** @param {string} id @param {(frame: object) => void} send @param {any} frame */
  #greet(id, send, { positions, url, sse, token }) {
    const known = this.#links.get(id);
    // It may greet twice, for it did not know that it was heard: what is under way for it goes on.
    const link = Object.assign(known ?? {}, {
      send,
      token,
      reached: positions,
      wants: new Set(),
      hears: new Set(),
      asking: new Map(),
    });
    this.#links.set(id, link);
    if (!this.#client || this.#client.state === 'closed')
      this.#connect({ url, sse, getToken: token && (() => this.#askToken()) }, positions);
    if (this.#client?.state === 'open') this.#admit(link);
    else this.#tell(link);
    if (!known) locks()?.request(lockOf(id), () => this.drop(id));
  }

  /** It begins where the tab that makes it left off; the others are caught up. @param {object} options @param {object} positions */
  #connect(options, positions) {
    const inner = {
      positions: new Positions(),
      tap: (/** @type {any} */ frame, /** @type {Set<string>} */ streamed) => this.#hear(frame, streamed),
    };
    for (const [channel, position] of Object.entries(positions)) inner.positions.set(channel, position);
    this.#inner = inner;
    const client = this.#make(options, inner);
    this.#client = client;
    client.onState((state, info) => {
      this.#state = { type: 'state', state, info };
      if (state === 'open') return; // its welcome tells the tabs more
      for (const link of this.#links.values()) this.#tell(link);
    });
    client.onLeft((channel, reason) => this.#left(channel, reason));
    client.onResync((channel) => {
      for (const { reached } of this.#links.values()) delete reached[channel]; // no use to ask for what came since
    });
    client.onError((error) => {
      for (const link of this.#links.values()) refuse(link, undefined, error);
    });
  }

  /** @param {Link} link @param {any} frame */
  #subscribe(link, { id, channel, position }) {
    link.reached[channel] = position;
    link.asking.set(channel, id);
    const joined = this.#client?.channels.includes(channel);
    if (!joined && !this.#isWanted(channel)) this.#inner.positions.set(channel, position);
    link.wants.add(channel);
    this.#client?.subscribe(channel).catch((error) => this.#refuse(link, channel, error));
    if (joined) this.#join(link, channel);
  }

  /** @param {Link} link @param {any} frame */
  #unsubscribe(link, { id, channel }) {
    for (const set of [link.wants, link.hears, link.asking]) set.delete(channel);
    delete link.reached[channel];
    this.#release(channel);
    link.send({ type: 'left', id, channel, reason: 'unsubscribed' });
  }

  /** Leaves a channel that no tab wants any more. @param {string} channel */
  #release(channel) {
    if (!this.#isWanted(channel) && !this.#yielded.has(channel))
      this.#client?.unsubscribe(channel).catch(() => {});
  }

  /** @param {Link} link @param {string} channel */
  #isFor(link, channel) {
    return this.#yielded.has(channel) || link.wants.has(channel);
  }

  /** Whether a tab has asked for it. @param {string} channel */
  #isWanted(channel) {
    return [...this.#links.values()].some((link) => link.wants.has(channel));
  }

  /** Another tab each time: one may be frozen. @returns {Promise<string>} */
  #askToken() {
    const links = [...this.#links.values()].filter(({ token }) => token);
    const link = links[(links.indexOf(/** @type {Link} */ (this.#asked?.link)) + 1) % links.length];
    return new Promise((resolve, reject) => {
      this.#asked = { link, resolve, reject };
      link.send({ type: 'token' });
    });
  }

  /** @param {any} frame */
  #given({ token, error, fatal }) {
    const { link, resolve, reject } = this.#asked;
    this.#asked = { link }; // it has answered
    if (error === undefined) resolve?.(token);
    else reject?.({ message: error, fatal });
  }

  // What the hub says

  /** @param {any} frame @param {Set<string>} streamed what a stream of events was asked for, which is not every tab's */
  #hear(frame, streamed) {
    const { type, channel, position } = frame;
    switch (type) {
      case 'welcome': {
        const before = this.#yielded;
        this.#welcome = frame;
        this.#yielded = new Set();
        for (const entry of frame.channels ?? [])
          this.#note(entry, before.has(entry.channel) || !streamed.has(entry.channel));
        for (const link of this.#links.values()) this.#admit(link);
        break;
      }
      case 'joined':
        this.#note(frame, frame.id === undefined && !streamed.has(channel));
        for (const link of this.#links.values()) {
          if (this.#isFor(link, channel)) this.#join(link, channel);
        }
        break;
      case 'left':
        this.#recent.delete(channel);
        break;
      case 'message': {
        const recent = this.#recent.get(channel);
        recent?.splice(0, recent.push(frame) - MAX_RECENT); // for tabs that come back
        this.#spread(frame);
        break;
      }
      case 'resync':
        if (position) this.#recent.set(channel, [frame]);
        this.#spread(frame);
        break;
      case 'read':
        this.#spread(frame);
    }
  }

  /** @param {any} entry @param {boolean} yielded whether by the claims */
  #note({ channel, position, recovered }, yielded) {
    if (yielded) this.#yielded.add(channel);
    if (!position) return;
    const last = this.#recent.get(channel);
    const recent = recovered && last?.at(-1).position === position ? last : [{ position }];
    recent.recovered = recovered;
    this.#recent.set(channel, recent);
  }

  /** To the tabs that have joined the channel. @param {any} frame */
  #spread(frame) {
    for (const link of this.#links.values()) {
      if (link.hears.has(frame.channel)) this.#pass(link, frame);
    }
  }

  /** @param {Link} link @param {any} frame */
  #pass(link, frame) {
    const { type, channel, position } = frame;
    if (type === 'message' && seen(position, link.reached[channel])) {
      this.#tellUnread(link, channel);
      return;
    }
    if (position && type !== 'read') link.reached[channel] = position;
    link.send(frame);
  }

  /** @param {string} channel @param {string} reason */
  #left(channel, reason) {
    const ended = reason !== 'unsubscribed'; // else who wants it has asked for it meanwhile
    if (ended) this.#yielded.delete(channel);
    for (const link of this.#links.values()) {
      if (ended) link.wants.delete(channel);
      if (link.hears.delete(channel)) link.send({ type: 'left', channel, reason });
      else if (ended) this.#refuse(link, channel, { code: reason, message: reason });
    }
  }

  // What tabs are told

  /** That the connection is not open. @param {Link} link */
  #tell(link) {
    link.hears.clear();
    link.send(this.#state);
  }

  /** That it is. @param {Link} link */
  #admit(link) {
    // One of which it lacks messages is joined later.
    const channels = /** @type {Client} */ (this.#client).channels.filter(
      (channel) => this.#isFor(link, channel) && !(this.#lacks(link, channel) && this.#join(link, channel)),
    );
    link.hears = new Set(channels);
    link.send({ ...this.#welcome, channels: channels.map((channel) => this.#entry(link, channel)) });
    for (const channel of channels) this.#catchUp(link, channel);
  }

  /** @param {Link} link @param {string} channel */
  async #join(link, channel) {
    if (this.#lacks(link, channel)) {
      this.#turn = this.#fetch(link, channel, this.#turn);
      await this.#turn;
    }
    if (!this.#client?.channels.includes(channel) || !this.#isFor(link, channel)) return;
    const id = link.asking.get(channel);
    link.asking.delete(channel);
    link.hears.add(channel);
    link.send({ type: 'joined', id, ...this.#entry(link, channel) });
    this.#catchUp(link, channel);
  }

  /** How a tab joins a channel: it may have heard less than the connection, or more. @param {Link} link @param {string} channel */
  #entry(link, channel) {
    const position = this.#inner.positions.get(channel);
    const heard = link.reached[channel];
    const resumes = this.#recent.get(channel)?.recovered && seen(position, heard);
    const recovered = Boolean(position && (resumes || this.#missed(link, channel)));
    if (position && !recovered) link.reached[channel] = position;
    return {
      channel,
      position: recovered ? heard : position,
      recovered,
      unread: this.#client?.unread(channel),
    };
  }

  /** The messages that a tab has not heard, if they are kept. @param {Link} link @param {string} channel */
  #missed({ reached }, channel) {
    const recent = this.#recent.get(channel) ?? [];
    const heard = recent.findIndex((/** @type {any} */ { position }) => position === reached[channel]);
    return heard < 0 ? undefined : recent.slice(heard + 1);
  }

  /** Whether a tab has heard less than what is kept. @param {Link} link @param {string} channel */
  #lacks(link, channel) {
    const oldest = this.#recent.get(channel)?.[0].position;
    return seen(link.reached[channel], oldest) && !this.#missed(link, channel);
  }

  /**
   * Keeps what the hub still has since a tab last heard. Without it, the tab is told of the loss.
   * @param {Link} link
   * @param {string} channel
   * @param {Promise<void>} [before] whose turn it is
   */
  async #fetch(link, channel, before) {
    await before;
    const recent = this.#recent.get(channel);
    let after = link.reached[channel];
    const heard = [{ position: after }];
    while (this.#lacks(link, channel)) {
      try {
        const { messages } = await this.#inner.demand({ type: 'history', channel, after, limit: MAX_RECENT });
        for (const message of messages) heard.push({ type: 'message', channel, ...message });
        after = messages.at(-1)?.position;
        if (!after) return;
        if (seen(recent[0].position, after))
          recent.splice(0, 1, ...heard.filter(({ position }) => seen(position, recent[0].position)));
      } catch (/** @type {any} */ { code, retryAfter }) {
        if (code !== 'rate_limited') return;
        await new Timers().pause(channel, retryAfter * SECOND);
      }
    }
  }

  /** Sends a tab what it has not heard. @param {Link} link @param {string} channel */
  #catchUp(link, channel) {
    const missed = this.#missed(link, channel) ?? [];
    for (const frame of missed) this.#pass(link, frame);
    if (missed.length) this.#tellUnread(link, channel);
  }

  /** It was told how many are unread where the connection stands, but stood elsewhere. @param {Link} link @param {string} channel */
  #tellUnread(link, channel) {
    link.send({ type: 'read', channel, unread: this.#client?.unread(channel) });
  }

  /** @param {Link} link @param {string} channel @param {any} error */
  #refuse(link, channel, error) {
    const id = link.asking.get(channel);
    link.wants.delete(channel);
    if (link.asking.delete(channel)) refuse(link, id, error);
  }
}

/** @param {Link} link @param {any} id @param {any} error */
function refuse(link, id, { code = 'failed', message, retryAfter }) {
  link.send({ type: 'error', id, code, message, retry_after: retryAfter });
}
