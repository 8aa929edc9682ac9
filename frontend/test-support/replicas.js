// Replicas of `aldaba serve` on a real redis-server, behind one address: what a page sees of a deployment.

import { execFile, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePorts } from './ports.js';

const BINARY = fileURLToPath(new URL('../../bin/aldaba', import.meta.url));
const PATIENCE = 30_000; // milliseconds; for a machine under load
const SECRET = 'the browser tests sign with this secret';
const COOKIE = 'session';

const run = promisify(execFile);

/** Resolves when it holds. @param {string} what @param {() => Promise<boolean>} holds */
async function eventually(what, holds) {
  const deadline = Date.now() + PATIENCE;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not ${what} in time`);
    await pause(50); // between two questions
  }
}

/** @param {object} part */
const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');

/** One `aldaba serve`. */
class Replica {
  /** @param {string} config @param {number} port @param {number} admin */
  constructor(config, port, admin) {
    this.port = port;
    this.admin = admin;
    this.process = spawn(BINARY, ['serve', '--config', config], {
      env: {
        PATH: process.env.PATH,
        ALDABA_LISTEN: `127.0.0.1:${port}`,
        ALDABA_ADMIN_LISTEN: `127.0.0.1:${admin}`,
      },
      stdio: 'ignore',
    });
    this.ended = once(this.process, 'exit');
  }

  ready() {
    return eventually('ready', () =>
      fetch(`http://127.0.0.1:${this.port}/readyz`).then(
        (response) => response.ok,
        () => false,
      ),
    );
  }

  async metrics() {
    return (await fetch(`http://127.0.0.1:${this.admin}/metrics`)).text();
  }

  /** Ends it as a crash does. */
  async kill() {
    this.process.kill('SIGKILL');
    await this.ended;
  }
}

export class Replicas {
  /** @type {Replica[]} */
  #replicas = [];
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #redis;
  #front = createServer((socket) => this.#pass(socket));
  /** @type {Set<import('node:net').Socket>} */
  #sockets = new Set();

  /** @param {string} scratch @param {number} redisPort */
  constructor(scratch, redisPort) {
    this.scratch = scratch;
    this.redisPort = String(redisPort);
    this.config = join(scratch, 'config.yaml');
  }

  /** Starts Redis and the address in front, and no replica yet. */
  static async create() {
    const [port] = await freePorts(1);
    const replicas = new Replicas(await mkdtemp(join(tmpdir(), 'aldaba-')), port);
    await replicas.#begin();
    return replicas;
  }

  async #begin() {
    this.#front.listen(0, '127.0.0.1');
    await once(this.#front, 'listening');
    const { port } = /** @type {import('node:net').AddressInfo} */ (this.#front.address());
    this.url = `http://127.0.0.1:${port}`;
    const config = {
      allowed_origins: [this.url],
      redis: { url: `redis://127.0.0.1:${this.redisPort}` },
      auth: { cookie: COOKIE, issuers: [{ algorithm: 'HS256', secret: SECRET }] },
      channels: [{ name: 'user:{sub}', history: { size: 1000, ttl: '1h' } }],
    };
    await writeFile(this.config, JSON.stringify(config)); // JSON is YAML
    const args = ['--port', this.redisPort, '--bind', '127.0.0.1', '--save', '', '--dir', this.scratch];
    this.#redis = spawn('redis-server', args, { stdio: 'ignore' });
    await eventually('answering', () =>
      this.redis('ping').then(
        (answer) => answer === 'PONG',
        () => false,
      ),
    );
  }

  /** What redis-cli answers. @param {string[]} words */
  async redis(...words) {
    const { stdout } = await run('redis-cli', ['-p', this.redisPort, ...words]);
    return stdout.trim();
  }

  /** Resolves when another replica is ready. It is the last that new connections go to. */
  async start() {
    const [port, admin] = await freePorts(2);
    const replica = new Replica(this.config, port, admin);
    this.#replicas.push(replica);
    await replica.ready();
    return replica;
  }

  /** Resolves when a replica could take over from the one that records plain PUBLISHes, and lose none. */
  standsBy() {
    return eventually('recording', async () => {
      const metrics = await Promise.all(this.#replicas.map((replica) => replica.metrics()));
      return metrics.some((text) => /^aldaba_recorder_standby 1$/m.test(text));
    });
  }

  /** Resolves when the replica that was started last has so many sessions. @param {number} count */
  sessions(count) {
    return eventually(`at ${count} sessions`, async () => {
      const text = await this.#replicas[this.#replicas.length - 1].metrics();
      return text.includes(`\naldaba_sessions ${count}\n`);
    });
  }

  /** The cookie of a user who is logged in. @param {string} user */
  cookie(user) {
    const now = Math.floor(Date.now() / 1000);
    const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub: user, iat: now, exp: now + 600 })}`;
    const value = `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
    return { name: COOKIE, value, url: String(this.url), httpOnly: true };
  }

  /** Passes a connection on to the first replica that lives. @param {import('node:net').Socket} socket */
  #pass(socket) {
    const replica = this.#replicas.find(({ process }) => process.exitCode === null && !process.signalCode);
    if (!replica) {
      socket.destroy();
      return;
    }
    const other = connect(replica.port, '127.0.0.1');
    for (const [from, to] of [
      [socket, other],
      [other, socket],
    ]) {
      this.#sockets.add(from);
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.on('error', () => {}); // a close follows
      from.pipe(to);
    }
  }

  /** Ends everything. */
  async remove() {
    for (const replica of this.#replicas) await replica.kill();
    this.#front.close();
    for (const socket of this.#sockets) socket.destroy();
    if (this.#redis) {
      const ended = once(this.#redis, 'exit');
      this.#redis.kill('SIGKILL');
      await ended;
    }
    await rm(this.scratch, { recursive: true, force: true });
  }
}
