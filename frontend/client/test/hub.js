// A hub that does only what the test tells it to. It speaks real WebSocket on a real port.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { WebSocket, WebSocketServer } from 'ws';

/** The client, as it is written, or as browsers load it: then names are shortened, and none must be that a page knows. */
export const MODULE = process.env.ALDABA_CLIENT ?? '../aldaba.js';
export const { connect, AldabaError } = await import(MODULE);

/** Things that arrive, in order, for whoever awaits them. */
class Queue {
  #items = [];
  #waiting = [];

  push(item) {
    const taker = this.#waiting.shift();
    if (taker) taker(item);
    else this.#items.push(item);
  }

  next() {
    if (this.#items.length) return Promise.resolve(this.#items.shift());
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  get length() {
    return this.#items.length;
  }
}

/** What the hub says, however it travels. */
class Frames {
  closes = new Queue();
  marks = 0;

  welcome(...channels) {
    this.send({
      type: 'welcome',
      session: 's1',
      user: '42',
      expires_at: 1790000000,
      channels: channels.map((entry) => (typeof entry === 'string' ? { channel: entry } : entry)),
    });
  }

  message(channel, data, position) {
    this.send({ type: 'message', channel, position, data });
  }

  /** Resolves when the client has closed it: with the code, if there is one. */
  closed() {
    return this.closes.next();
  }
}

class Connection extends Frames {
  #frames = new Queue();

  constructor(socket, request) {
    super();
    this.socket = socket;
    this.path = request.url;
    this.offered = request.headers['sec-websocket-protocol'].split(',').map((name) => name.trim());
    this.token = this.offered.find((name) => name.startsWith('bearer.'))?.slice('bearer.'.length);
    socket.on('message', (text) => this.#frames.push(JSON.parse(text)));
    socket.on('close', (code) => this.closes.push(code));
    socket.on('error', () => {});
  }

  send(frame) {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** Answers the next `subscribe`, and returns it. */
  async join(answer = {}) {
    const frame = await this.frame();
    this.send({ type: 'joined', id: frame.id, channel: frame.channel, ...answer });
    return frame;
  }

  /** Answers the next `history` with messages of those offsets, or with an error's code and time to wait, and
   *  returns it. */
  async recall(...answer) {
    const frame = await this.frame();
    const { id, channel } = frame;
    const [code, retry_after] = answer;
    if (typeof code === 'string') this.send({ type: 'error', id, code, message: 'refused', retry_after });
    else {
      const messages = answer.map((offset) => ({ position: `e1:${offset}-1790`, data: offset }));
      this.send({ type: 'history', id, channel, messages, more: false });
    }
    return frame;
  }

  /** The next frame of the client. */
  frame() {
    return this.#frames.next();
  }

  /** How many frames of the client nobody has taken yet. */
  get unread() {
    return this.#frames.length;
  }
}

/** What is heard through GET /sse. */
class EventStream extends Frames {
  constructor(request, response) {
    super();
    this.response = response;
    this.path = request.url;
    this.channels = new URL(request.url, 'http://hub').searchParams.getAll('channel');
    this.token = request.headers.authorization?.replace('Bearer ', '');
    this.lastEventId = request.headers['last-event-id'];
    response.on('close', () => this.closes.push(true));
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.write('retry: 1000\n\n');
  }

  send(frame, id) {
    const data = typeof frame === 'string' ? frame : JSON.stringify(frame);
    this.response.write(`${id === undefined ? '' : `id: ${id}\n`}data: ${data}\n\n`);
  }

  beat() {
    this.response.write(':\n');
  }
}

/** @returns a hub on a port of its own, ended with the test; `refuse` holds status codes for the next upgrades,
 *   `refuseEvents` answers, [status, body], for the next streams of events, `pages` what GET finds: [type, content] */
export async function startHub(t) {
  const connections = new Queue();
  const streams = new Queue();
  const refuse = [];
  const refuseEvents = [];
  const pages = new Map();
  const server = createServer((request, response) => {
    const page = pages.get(request.url);
    if (page) {
      response.writeHead(200, { 'Content-Type': page[0] });
      response.end(page[1]);
      return;
    }
    const refusal = request.url.startsWith('/sse') ? refuseEvents.shift() : [404, {}];
    if (!refusal) {
      streams.push(new EventStream(request, response));
      return;
    }
    response.writeHead(refusal[0], { 'Content-Type': 'application/json' });
    response.end(refusal[0] === 204 ? undefined : JSON.stringify(refusal[1]));
  });
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'aldaba.v1' });
  server.on('upgrade', (request, socket, head) => {
    const status = refuse.shift();
    if (status) {
      socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (ws) => connections.push(new Connection(ws, request)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `ws://127.0.0.1:${server.address().port}/ws`,
    refuse,
    refuseEvents,
    pages,
    connection: () => connections.next(),
    stream: () => streams.next(),
    /** How many connections and streams nobody has taken yet. */
    get untaken() {
      return connections.length + streams.length;
    },
  };
}

/** A client of that hub, closed with the test. Its tokens count up: t1, t2, ... */
export function startClient(t, hub, options = {}) {
  const asked = { count: 0 };
  const getToken = () => `t${++asked.count}`;
  const sockets = [];
  class TrackedWebSocket extends WebSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
    }
  }
  const client = connect({ url: hub.url, WebSocket: TrackedWebSocket, getToken, ...options });
  const errors = new Queue();
  const listenNoMore = client.onError((error) => errors.push(error));
  t.after(async () => {
    client.close();
    // Not one timer of ws may outlive the test: the next one may stop the clock.
    for (const socket of sockets) {
      if (socket.readyState === WebSocket.CLOSED) continue;
      const closed = new Promise((resolve) => socket.on('close', resolve));
      socket.terminate();
      await closed;
    }
  });
  return { client, asked, error: () => errors.next(), errors, listenNoMore };
}

/** Resolves with the state's info once the client is in it. */
export function until(client, wanted) {
  return new Promise((resolve) => {
    let off = () => {};
    let done = false;
    off = client.onState((state, info) => {
      if (state !== wanted || done) return;
      done = true;
      resolve(info);
      queueMicrotask(() => off());
    });
  });
}

/** Resolves once the client has heard all that the hub has sent so far on this connection. */
export async function heard(client, connection) {
  const mark = `mark-${connection.marks++}`;
  await new Promise((resolve) => {
    const off = client.on(mark, () => {
      off();
      resolve();
    });
    connection.message(mark, null);
  });
  await settled();
}

/** Resolves when every promise that could go on has gone on. */
export function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * A clock that stands still until told; sockets go on by themselves. (node:test has one, but there a second clearTimeout
 * of the same timer, which ws does, takes away another one.)
 * @returns {(ms: number) => void} lets time pass
 */
export function stopTheClock(t) {
  const { setTimeout, clearTimeout } = globalThis;
  const timers = new Set();
  let now = 1_000_000;
  t.mock.method(Date, 'now', () => now);
  t.mock.method(globalThis, 'setTimeout', (fn, ms = 0, ...args) => {
    // fetch has timers of its own, which are not those of the client
    if (new Error().stack.includes('node:internal/deps/undici')) return setTimeout(fn, ms, ...args);
    const timer = { fn, due: now + ms };
    timers.add(timer);
    return timer;
  });
  t.mock.method(globalThis, 'clearTimeout', (timer) => {
    if (!timers.delete(timer) && !timer?.due) clearTimeout(timer);
  });
  return (ms) => {
    const end = now + ms;
    for (;;) {
      const [next] = [...timers].filter((timer) => timer.due <= end).sort((a, b) => a.due - b.due);
      if (!next) break;
      now = next.due;
      timers.delete(next);
      next.fn();
    }
    now = end;
  };
}
