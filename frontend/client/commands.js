// What the hub was asked and has not answered yet.

import { AldabaError, noAnswer } from './error.js';
import { SECOND, Timers } from './time.js';

const ANSWER_TIMEOUT = 15 * SECOND;

/** Commands by their ids. */
export class Commands {
  #lastId = 0;
  /** @type {Map<number, {resolve: (frame: any) => void, reject: (error: Error) => void}>} */
  #waiting = new Map();
  #timers = new Timers();
  #send;

  /** @param {(frame: object) => void} send */
  constructor(send) {
    this.#send = send;
  }

  /** @param {object} frame @returns {Promise<any>} the answer */
  ask(frame) {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#send({ ...frame, id }); // throws what JSON cannot say, and so rejects
      this.#waiting.set(id, { resolve, reject });
      this.#timers.later(id, ANSWER_TIMEOUT, () => this.refuse(id, noAnswer()));
    });
  }

  /** @param {any} frame that may be the answer to a command */
  settle(frame) {
    this.#take(frame.id)?.resolve(frame);
  }

  /** @param {number} id @param {Error} error @returns {boolean} whether there was such a command */
  refuse(id, error) {
    const command = this.#take(id);
    command?.reject(error);
    return Boolean(command);
  }

  /** The connection has ended: no answer will come. @param {string} code with which they reject */
  end(code) {
    for (const id of this.#waiting.keys()) this.refuse(id, new AldabaError(code, 'the connection is lost'));
  }

  /** @param {number} id */
  #take(id) {
    const command = this.#waiting.get(id);
    this.#waiting.delete(id);
    this.#timers.stop(id);
    return command;
  }
}
