// Pages that open, reload, crash, subscribe and leave at any moment, over a network that delays and breaks. Whatever
// happens, a page hears all that it is to hear, once and in order, or is told of the loss; and nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBrowser } from './browser.js';
import { connect } from './hub.js';
import { CLAIMED, keeps } from './simulated-hub.js';

const RUNS = Number(process.env.ALDABA_RUNS ?? 40); // of each way, with seeds that follow each other
const FIRST = Number(process.env.ALDABA_SEED ?? 1);
const STEPS = 400;
const MAX_FROZEN = 8000; // milliseconds; after 15 s without a word, tabs do without the one that leads
const ROOMS = ['room:1', 'room:2', 'plain:1'];
const CHANNELS = [...ROOMS, ...CLAIMED];
const FETCHED = ['room:1', 'plain:1']; // whose state some pages fetch

/** What may become of a command when the connection, or the page, goes. */
const EXCUSES = [
  'receive_only',
  'offline',
  'connection_lost',
  'closed',
  'unsubscribed',
  'not_joined',
  'no_history',
  'rate_limited',
];

/** What a page may count on for one channel. */
class Channel {
  /** The newest message that was heard. */
  heard;
  /** What is not heard up to there is no loss. */
  floor;
  /** Changes with each subscribe and unsubscribe. */
  #turn = {};
  wanted = false;
  /** Whether the page was told that it has it. */
  had = false;
  /** How many unsubscribes are not done. */
  leaving = 0;
  /** The hub took it away, perhaps while the client was asking for it again: it may have it, or not. */
  revoked = false;

  /** @returns {() => boolean} whether nothing was wanted or left since */
  turn(wanted) {
    this.wanted = wanted;
    this.had = this.revoked = false;
    this.#turn = {};
    const turn = this.#turn;
    return () => turn === this.#turn;
  }

  /** All that comes after number is to be heard. */
  from(number) {
    this.heard = undefined;
    this.floor = number;
  }
}

/** A page that checks what it hears. */
class Page {
  #browser;
  #hub;
  #strict;
  #channels;
  #told = [];
  #pending = new Set();
  #failures;
  store;
  client;
  name;

  /** @param {object} options strict: whether nothing is ever lost. before: the page that this one is a reload of */
  constructor(browser, { share, strict, name, failures, before }) {
    this.#browser = browser;
    this.#hub = browser.hub;
    this.#strict = strict;
    this.#failures = failures;
    this.name = name;
    this.store = before?.store ?? new Map();
    this.#channels = new Map(CHANNELS.map((name) => [name, new Channel()]));
    // Where the page before was joined, this one goes on: the store tells the client.
    for (const name of before ? CHANNELS.filter(keeps) : [])
      this.#of(name).heard =
        before.wants(name) && !before.#of(name).leaving ? before.#of(name).heard : undefined;
    for (const name of CLAIMED) this.#of(name).wanted = true;
    browser.run(name, () => this.#open(share, browser.world.random() < 0.3));
  }

  #open(share, fetches) {
    const { store } = this;
    const { random } = this.#browser.world;
    this.client = connect({
      url: 'ws://hub/ws',
      share,
      getToken: async () => {
        if (random() < 0.1) throw new Error('no token');
        return 'token';
      },
      sse: this.#browser.events,
      store: { getItem: (key) => store.get(key) ?? null, setItem: (key, value) => store.set(key, value) },
    });
    const { client } = this;
    client.onState((state) => this.#told.push(state));
    client.onJoined((name) => this.#told.push(`joined ${name}`));
    client.onMessage(({ channel, data }) => this.#hear(channel, data));
    client.onLeft((name, reason) => this.#left(name, reason));
    client.onError(
      (error) => /^no (state|token)$/.test(error.message) || this.fail(`error ${error.message}`),
    );
    client.onResync((name) => {
      this.#told.push(`resync ${name}`);
      if (this.#strict && keeps(name)) this.fail(`told of a loss of ${name}`);
      this.#of(name).from(this.#hub.newest(name));
    });
    for (const name of fetches ? FETCHED : [])
      client.onResync(name, async () => {
        await new Promise((resolve) => setTimeout(resolve, random() * 500));
        this.#told.push(`fetched ${name}`);
        this.#of(name).from(this.#hub.newest(name));
        if (random() < 0.3) throw new Error('no state');
      });
  }

  #of(name) {
    return this.#channels.get(name);
  }

  fail(what) {
    this.#failures.push(`${this.name} ${what}. It was told: ${this.#told.slice(-12).join(', ')}`);
  }

  wants(name) {
    return this.#of(name).wanted;
  }

  #hear(name, number) {
    this.#told.push(`${name} ${number}`);
    const channel = this.#of(name);
    const { heard, floor } = channel;
    if (!channel.wanted && !channel.revoked) this.fail(`heard ${name} ${number}, which it has left`);
    if (number <= heard) this.fail(`heard ${name} ${number} after ${heard}`);
    const known = [heard, floor].filter((n) => n !== undefined);
    if (keeps(name) && known.length && number > Math.max(...known) + 1)
      this.fail(`heard ${name} ${number}, after ${known}`);
    channel.heard = number;
  }

  #left(name, reason) {
    this.#told.push(`left ${name} ${reason}`);
    const channel = this.#of(name);
    if (reason === 'revoked') {
      channel.turn(false);
      channel.from(undefined);
      channel.revoked = true;
    } else if (channel.had) this.fail(`was told that it has left ${name}`);
  }

  /** What was asked must be answered, with no more than an excuse. */
  async #ask(what, promise) {
    const asked = { what };
    this.#pending.add(asked);
    try {
      return await promise;
    } catch ({ code }) {
      const lost = ['gone', 'revoked'].includes(code) && !this.#strict;
      if (!EXCUSES.includes(code) && !lost) this.fail(`got ${code} for ${what}`);
      return undefined;
    } finally {
      this.#pending.delete(asked);
    }
  }

  async subscribe(name) {
    const channel = this.#of(name);
    if (channel.wanted) return;
    const lasts = channel.turn(true);
    this.#told.push(`subscribe ${name}`);
    const refused = await this.#ask(
      `subscribe ${name}`,
      this.client.subscribe(name).then(() => false),
    );
    if (!lasts()) return;
    if (refused !== false) {
      channel.turn(false);
      return;
    }
    this.#told.push(`subscribed ${name}`);
    channel.had = true;
    channel.floor = this.#hub.newest(name);
  }

  async unsubscribe(name) {
    const channel = this.#of(name);
    if (!channel.wanted) return;
    channel.turn(false);
    channel.from(undefined);
    channel.leaving++;
    this.#told.push(`unsubscribe ${name}`);
    await this.#ask(`unsubscribe ${name}`, this.client.unsubscribe(name));
    channel.leaving--;
    if (!channel.wanted) channel.from(undefined);
  }

  async ack(name) {
    if (this.client.channels.includes(name) && keeps(name))
      await this.#ask(`ack ${name}`, this.client.ack(name));
  }

  async history(name) {
    if (!this.client.channels.includes(name) || !keeps(name)) return;
    const page = await this.#ask(`history ${name}`, this.client.history(name));
    const numbers = page?.messages.map(({ data }) => data) ?? [];
    for (const [n, number] of numbers.entries())
      if (number !== numbers[0] + n) this.fail(`read ${numbers} in the history of ${name}`);
  }

  /** Everything is calm, and one message of each channel came since: what was wanted must be there. */
  check() {
    const { client } = this;
    if (client.state !== 'open') this.fail(`is ${client.state}`);
    for (const { what } of this.#pending) this.fail(`waits for the answer to ${what}`);
    for (const [name, { wanted, revoked, heard }] of this.#channels) {
      if (revoked) continue;
      if (wanted !== client.channels.includes(name)) this.fail(`${wanted ? 'has not' : 'still has'} ${name}`);
      if (!wanted) continue;
      if (heard !== this.#hub.newest(name))
        this.fail(`heard ${name} up to ${heard} of ${this.#hub.newest(name)}`);
      const unread = keeps(name) ? this.#hub.unread(name) : undefined;
      if (this.#strict && client.unread(name) !== unread)
        this.fail(`counts ${client.unread(name)} unread of ${name}, not ${unread}`);
    }
  }
}

/** One life of a browser, as the seed has it. */
async function live(t, seed, { way, events, forgets, strict }) {
  const browser = await startBrowser(t, seed, { worker: way === 'worker', events });
  const { world, hub } = browser;
  const failures = [];
  /** @type {Page[]} */
  const pages = [];
  let opened = 0;
  const open = (before) =>
    pages.push(
      new Page(browser, { share: way !== 'alone', strict, failures, before, name: `tab ${++opened}` }),
    );
  const close = (page) => {
    pages.splice(pages.indexOf(page), 1);
    browser.run(page.name, () => page.client.close());
  };
  const inPage = (act) => {
    const page = world.pick(pages);
    browser.run(page.name, () => act(page));
  };
  const acts = [
    () => hub.publish(world.pick(CHANNELS)),
    () => hub.publish(world.pick(CHANNELS)),
    () => inPage((page) => page.subscribe(world.pick(ROOMS))),
    () => inPage((page) => page.subscribe(world.pick(ROOMS))),
    () => inPage((page) => page.unsubscribe(world.pick(ROOMS))),
    () => inPage((page) => page.ack(world.pick(CHANNELS))),
    () => inPage((page) => page.history(world.pick(CHANNELS))),
    () => inPage((page) => page.client.reconnect()),
    () => pages.length < 4 && open(),
    () => pages.length > 1 && close(world.pick(pages)),
    () => {
      const page = world.pick(pages);
      close(page);
      open(page);
    },
    () => {
      if (pages.length < 2) return;
      const [page] = pages.splice(Math.floor(world.random() * pages.length), 1);
      browser.crash(page.name);
    },
    () => browser.break(),
    () => world.freeze(world.pick(pages).name, world.random() * MAX_FROZEN),
    () => {
      const name = world.pick(CHANNELS.filter(keeps));
      hub.read(name, Math.floor(world.random() * (hub.newest(name) + 1))); // on another device
    },
    ...(!forgets
      ? []
      : [
          () => hub.forget(),
          () => {
            const [session] = hub.sessions;
            session?.revoke(world.pick(ROOMS));
          },
        ]),
  ];

  hub.busy = 0.1;
  if (forgets) hub.kept = 3;
  open();
  for (let step = 0; step < STEPS && !failures.length; step++) {
    const chance = world.random();
    if (chance < 0.65) await world.deliver();
    else if (chance < 0.8) await world.pass(Math.floor(world.random() * 400));
    else world.pick(acts)();
  }
  hub.busy = 0;
  await world.calm(90_000);
  for (const channel of CHANNELS) hub.publish(channel);
  await world.calm(2000);
  for (const page of pages) page.check();
  for (const session of hub.sessions)
    for (const name of session.joined)
      if (!forgets && !pages.some((page) => page.wants(name)))
        failures.push(`the hub sends ${name}, which no page wants`);
  assert.deepEqual(failures, []);
  for (const page of [...pages]) close(page);
  await world.calm(1000);
  assert.equal(hub.sessions.size, 0);
}

for (const way of ['worker', 'leader', 'alone'])
  for (const events of [false, true])
    for (const forgets of [false, true]) {
      const hub = `a hub that ${forgets ? 'forgets' : 'keeps all'}, over ${events ? 'events' : 'WebSocket'}`;
      test(`${way}: pages hear what they are to, from ${hub}`, async (t) => {
        // Over events there is no history for a tab that has heard less than others: it is told.
        const strict = !forgets && !(events && way !== 'alone');
        for (let seed = FIRST; seed < FIRST + RUNS; seed++)
          await t.test(`seed ${seed}`, (t) => live(t, seed, { way, events, forgets, strict }));
      });
    }
