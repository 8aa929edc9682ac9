// A browser as far as the client knows it, in a world of its own (world.js).
import { MODULE } from './hub.js';
import { Hub, Session } from './simulated-hub.js';
import { Pipe, running, World } from './world.js';

/** navigator.locks, as far as it is used: exclusive, first come, first served. */
class Locks {
  #queues = new Map();
  #world;

  constructor(world) {
    this.#world = world;
  }

  request(name, ...rest) {
    const fn = rest.pop();
    const { signal } = rest.pop() ?? {};
    const owner = running.getStore();
    return new Promise((resolve, reject) => {
      const entry = { fn, owner, resolve, reject, granted: false };
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      queue.push(entry);
      signal?.addEventListener('abort', () => {
        if (entry.granted) return;
        this.#remove(queue, entry);
        reject(signal.reason);
      });
      if (queue.length === 1) this.#grant(queue);
    });
  }

  #grant(queue) {
    const [entry] = queue;
    if (!entry) return;
    new Pipe(this.#world, entry.owner).push(async () => {
      if (queue[0] !== entry || entry.granted) return;
      entry.granted = true;
      try {
        entry.resolve(await entry.fn());
      } catch (error) {
        entry.reject(error);
      }
      if (queue.includes(entry)) this.#remove(queue, entry);
    });
  }

  #remove(queue, entry) {
    const first = queue[0] === entry;
    queue.splice(queue.indexOf(entry), 1);
    if (first) this.#grant(queue);
  }

  kill(owner) {
    for (const queue of this.#queues.values())
      for (const entry of queue.filter((one) => one.owner === owner)) this.#remove(queue, entry);
  }
}

let lives = 0; // each runs the module of its worker anew

/**
 * Puts a browser into the global scope, and a hub that its tabs reach.
 * @param {{worker: boolean, events: boolean}} options whether there is SharedWorker, and no WebSocket
 */
export async function startBrowser(t, seed, { worker, events }) {
  const world = new World(t, seed);
  const hub = new Hub();
  const locks = new Locks(world);
  const sockets = new Set();

  class Socket {
    onopen = null;
    onmessage = null;
    onclose = null;

    constructor(url) {
      this.url = url;
      this.owner = running.getStore();
      this.down = new Pipe(world, this.owner);
      this.up = new Pipe(world, 'hub');
      sockets.add(this);
      if (world.isDead(this.owner)) return;
      this.up.push(() => {
        this.down.push(() => this.onopen?.());
        this.session = new Session(world, hub, this);
      });
    }

    send(text) {
      this.up.push(() => this.session.take(JSON.parse(text)));
    }

    close() {
      this.up.push(() => this.session.end());
      this.down.cut();
      sockets.delete(this);
    }

    /** The network ends it, whatever was on its way. */
    break() {
      sockets.delete(this);
      this.session?.end();
      this.up.cut();
      this.down.cut();
      this.down.push(() => this.onclose?.({ code: 1006, reason: '' }));
    }
  }

  /** GET /sse, as far as it is used. */
  class Stream extends Socket {
    #read = [];
    #waiting;

    constructor(url, { headers, signal }) {
      super(url);
      this.lastEventId = headers['Last-Event-ID'];
      signal.addEventListener('abort', () => this.close());
      this.onmessage = ({ data }) => this.#chunk({ value: `data: ${data}\n\n` });
      this.onbeat = () => this.#chunk({ value: ':\n' });
      this.onclose = () => this.#chunk({ done: true });
    }

    #chunk(chunk) {
      if (!this.#waiting) return this.#read.push(chunk);
      this.#waiting(chunk);
      this.#waiting = undefined;
      return 0;
    }

    response() {
      const read = () =>
        new Promise((resolve) => {
          if (this.#read.length) resolve(this.#read.shift());
          else this.#waiting = resolve;
        });
      const headers = new Map([['Content-Type', 'text/event-stream']]);
      return { status: 200, headers, body: { pipeThrough: () => ({ getReader: () => ({ read }) }) } };
    }
  }
  const fetch = (url, options) =>
    new Promise((resolve, reject) => {
      const stream = new Stream(url, options);
      const { onclose } = stream;
      stream.onopen = () => resolve(stream.response());
      stream.onclose = () => {
        reject(new Error('no network'));
        onclose();
      };
    });

  const channels = new Set();
  class Channel {
    constructor(name) {
      this.name = name;
      this.in = new Pipe(world, running.getStore());
      channels.add(this);
    }

    postMessage(data) {
      if (!channels.has(this)) throw new Error('a closed channel');
      for (const other of channels) {
        if (other === this || other.name !== this.name) continue;
        const copy = structuredClone(data);
        other.in.push(() => channels.has(other) && other.onmessage?.({ data: copy }));
      }
    }

    close() {
      channels.delete(this);
    }
  }

  const scope = {
    navigator: { locks },
    BroadcastChannel: Channel,
    WebSocket: events ? undefined : Socket,
    fetch,
  };
  if (worker) {
    scope.SharedWorkerGlobalScope = class {};
    scope.name = 'aldaba tabs';
    scope.onconnect = undefined;
  }
  const own = Object.keys({ ...scope, SharedWorker: 0 }).map((name) => [
    name,
    Object.getOwnPropertyDescriptor(globalThis, name),
  ]);
  t.after(() => {
    for (const [name, descriptor] of own) {
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else delete globalThis[name];
    }
  });
  const put = (name, value) =>
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  for (const [name, value] of Object.entries(scope)) put(name, value);
  if (worker) {
    await running.run('worker', () => import(`${MODULE}?life=${++lives}`));
    const { onconnect } = globalThis;
    const end = (owner) => {
      const pipe = new Pipe(world, owner);
      return {
        pipe,
        postMessage(data) {
          const copy = structuredClone(data);
          this.other.pipe.push(() => this.other.onmessage?.({ data: copy }));
        },
        close() {
          pipe.cut();
          this.postMessage = () => {};
        },
      };
    };
    put(
      'SharedWorker',
      class {
        constructor() {
          const [port, far] = [end(running.getStore()), end('worker')];
          port.other = far;
          far.other = port;
          this.port = port;
          running.run('worker', () => onconnect({ ports: [far] }));
        }
      },
    );
  }
  return {
    world,
    hub,
    events,
    /** Runs code of a tab. */
    run: (owner, fn) => running.run(owner, fn),
    /** The network breaks one of the connections. */
    break: () =>
      [...sockets]
        .filter(({ session }) => session)
        .at(0)
        ?.break(),
    /** A tab is gone without a word. */
    crash: (owner) => {
      world.kill(owner);
      locks.kill(owner);
      for (const socket of [...sockets]) if (socket.owner === owner) socket.break();
      for (const channel of channels) if (channel.in.owner === owner) channels.delete(channel);
    },
  };
}
