// An `aldaba dev` of a test's own, which it may stop and start again at the same addresses.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePorts } from './ports.js';

const BINARY = fileURLToPath(new URL('../../bin/aldaba', import.meta.url));
const START_TIMEOUT = 30_000; // milliseconds; for a machine under load

export class DevHub {
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #process;
  #said = '';

  /** @param {number[]} ports @param {string} scratch */
  constructor([web, redis, admin], scratch) {
    this.url = `http://127.0.0.1:${web}`;
    this.redisPort = String(redis);
    this.scratch = scratch;
    this.args = ['dev', '--listen', `127.0.0.1:${web}`, '--redis-listen', `127.0.0.1:${redis}`];
    // Not the test's own ALDABA_ variables: the hub would ask what they are.
    this.env = { PATH: process.env.PATH, XDG_CACHE_HOME: scratch, ALDABA_ADMIN_LISTEN: `127.0.0.1:${admin}` };
  }

  static async create() {
    return new DevHub(await freePorts(3), await mkdtemp(join(tmpdir(), 'aldaba-')));
  }

  /** Resolves when the hub is ready. */
  async start() {
    this.#process = spawn(BINARY, this.args, { env: this.env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.on('data', (text) => {
        this.#said += text;
      });
    }
    const deadline = Date.now() + START_TIMEOUT;
    while (!(await this.#isReady())) {
      if (this.#process.exitCode !== null || Date.now() > deadline) {
        throw new Error(`aldaba dev is not ready; it said:\n${this.#said}`);
      }
      await pause(50); // between two questions: a condition is waited for, with a deadline
    }
  }

  #isReady() {
    return fetch(`${this.url}/readyz`).then(
      (response) => response.ok,
      () => false,
    );
  }

  /** Resolves when the process has ended. */
  async stop() {
    const running = this.#process;
    this.#process = undefined;
    if (!running || running.exitCode !== null) return;
    const ended = once(running, 'exit');
    running.kill('SIGTERM');
    await ended;
  }

  /** Stops it for good. */
  async remove() {
    await this.stop();
    await rm(this.scratch, { recursive: true, force: true });
  }
}
