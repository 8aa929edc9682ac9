// A hub that keeps what the protocol promises, for clients in a world of its own (world.js).

export const CLAIMED = ['user:42', 'plain:news']; // what every session joins at connect
const BEAT = 15_000; // milliseconds between two signs of life of a stream of events

/** Whether the channel has history. */
export const keeps = (channel) => !channel.startsWith('plain');

/** What a hub keeps, and its sessions. Messages are numbered; the numbers go on when the log begins anew. */
export class Hub {
  sessions = new Set();
  /** How many of the newest messages of a channel are kept. */
  kept = Infinity;
  /** How often it refuses what may be asked again. */
  busy = 0;
  #epoch = 1;
  #published = new Map();
  /** The first message of a channel that its log knows, less one. */
  #base = new Map();
  #read = new Map();

  newest(channel) {
    return this.#published.get(channel) ?? 0;
  }

  publish(channel) {
    const number = this.newest(channel) + 1;
    this.#published.set(channel, number);
    for (const session of this.sessions) session.message(channel, number);
  }

  /** How many messages up to that one the user has not read. */
  unread(channel, number = this.newest(channel)) {
    return Math.max(0, number - this.readTo(channel));
  }

  /** Up to where the user has read. */
  readTo(channel) {
    return this.#read.get(channel) ?? 0;
  }

  read(channel, number) {
    if (!(number > this.readTo(channel))) return;
    this.#read.set(channel, number);
    for (const session of this.sessions) session.told(channel);
  }

  /** The log of every channel is gone. */
  forget() {
    this.#epoch++;
    this.#read.clear();
    for (const [channel, number] of this.#published) this.#base.set(channel, number);
    for (const session of this.sessions) session.resync();
  }

  positionOf(channel, number) {
    return keeps(channel)
      ? `e${this.#epoch}:${number - (this.#base.get(channel) ?? 0)}-${number}`
      : undefined;
  }

  /** The number of the message there, if the log goes on from it. */
  numberAt(channel, position) {
    const number = Number(/-(\d+)$/.exec(position)?.[1]);
    const known = this.positionOf(channel, number) === position && number >= this.newest(channel) - this.kept;
    return known ? number : undefined;
  }
}

export class Session {
  #joined = new Set();
  #world;
  #hub;
  #socket;

  constructor(world, hub, socket) {
    this.#world = world;
    this.#hub = hub;
    this.#socket = socket;
    hub.sessions.add(this);
    const { pathname, search, searchParams } = new URL(socket.url);
    if (pathname === '/sse') {
      const entries = socket.lastEventId?.split(',').map((entry) => entry.split('=')) ?? [];
      this.#welcome(Object.fromEntries(entries), searchParams.getAll('channel'));
      this.#beat();
    } else if (search !== '?resume') this.#welcome({});
  }

  #beat() {
    if (!this.#hub.sessions.has(this)) return;
    this.#socket.down.push(() => this.#socket.onbeat());
    setTimeout(() => this.#beat(), BEAT);
  }

  get joined() {
    return [...this.#joined];
  }

  #send(frame) {
    const text = JSON.stringify(frame);
    this.#socket.down.push(() => this.#socket.onmessage?.({ data: text }));
  }

  message(channel, number) {
    if (!this.#joined.has(channel)) return;
    const position = this.#hub.positionOf(channel, number);
    this.#send({ type: 'message', channel, position, data: number });
  }

  /** Up to where the user has read. */
  told(channel) {
    const position = this.#hub.positionOf(channel, this.#hub.readTo(channel));
    if (this.#joined.has(channel))
      this.#send({ type: 'read', channel, position, unread: this.#hub.unread(channel) });
  }

  resync() {
    for (const channel of this.#joined)
      this.#send({
        type: 'resync',
        channel,
        position: this.#hub.positionOf(channel, this.#hub.newest(channel)),
      });
  }

  revoke(channel) {
    if (this.#joined.delete(channel)) this.#send({ type: 'left', channel, reason: 'revoked' });
  }

  #welcome(positions, asked = []) {
    const joins = [...CLAIMED, ...asked].map((channel) => this.#join(channel, positions[channel]));
    const channels = joins.map(({ entry }) => entry);
    this.#send({ type: 'welcome', session: 's', user: '42', expires_at: 4e9, channels });
    for (const { follow } of joins) follow();
  }

  #join(channel, position) {
    this.#joined.add(channel);
    if (!keeps(channel)) return { entry: { channel }, follow: () => {} };
    const hub = this.#hub;
    const newest = hub.newest(channel);
    const from = hub.numberAt(channel, position);
    const at = from ?? newest;
    return {
      entry: {
        channel,
        position: hub.positionOf(channel, at),
        recovered: from !== undefined,
        unread: hub.unread(channel, at),
      },
      follow: () => {
        for (let number = at + 1; number <= newest; number++) this.message(channel, number);
        if (hub.readTo(channel) > at) this.told(channel);
      },
    };
  }

  take({ type, id, channel, ...frame }) {
    if (
      this.#world.random() < this.#hub.busy &&
      ['subscribe', 'unsubscribe', 'history', 'ack'].includes(type)
    ) {
      this.#send({ type: 'error', id, code: 'rate_limited', message: 'too often', retry_after: 1 });
      return;
    }
    switch (type) {
      case 'resume':
        this.#welcome(frame.positions);
        break;
      case 'subscribe':
        this.#subscribe(id, channel, frame.position);
        break;
      case 'unsubscribe':
        if (this.#joined.delete(channel)) this.#send({ type: 'left', id, channel, reason: 'unsubscribed' });
        else this.#send({ type: 'error', id, code: 'not_joined', message: 'not joined' });
        break;
      case 'ack':
        this.#ack(id, channel, frame.position);
        break;
      case 'history':
        this.#history(id, channel, frame);
        break;
      case 'ping':
        this.#send({ type: 'pong', id });
        break;
      default:
        throw new Error(`no hub knows ${type}`);
    }
  }

  #subscribe(id, channel, position) {
    if (this.#joined.has(channel)) {
      this.#send({ type: 'joined', id, channel });
      return;
    }
    const { entry, follow } = this.#join(channel, position);
    this.#send({ type: 'joined', id, ...entry });
    follow();
  }

  #ack(id, channel, position) {
    const number = this.#hub.numberAt(channel, position);
    if (number === undefined) {
      this.#send({ type: 'error', id, code: 'gone', message: 'gone' });
      return;
    }
    this.#hub.read(channel, number);
    const read = this.#hub.positionOf(channel, this.#hub.readTo(channel));
    this.#send({ type: 'acked', id, channel, position: read, unread: this.#hub.unread(channel) });
  }

  #history(id, channel, { after, limit = 100 }) {
    const hub = this.#hub;
    const newest = hub.newest(channel);
    const from = after ? hub.numberAt(channel, after) : Math.max(0, newest - Math.min(limit, hub.kept));
    if (from === undefined) {
      this.#send({ type: 'error', id, code: 'gone', message: 'gone' });
      return;
    }
    const messages = [];
    for (let number = from + 1; number <= newest && messages.length < limit; number++)
      messages.push({ position: hub.positionOf(channel, number), data: number });
    this.#send({ type: 'history', id, channel, messages, more: from + messages.length < newest });
  }

  end() {
    this.#hub.sessions.delete(this);
  }
}
