// The page's tokens: asked for, and looked at.

import { AldabaError, noAnswer } from './error.js';
import { SECOND } from './time.js';

const TOKEN_TIMEOUT = 15 * SECOND;
const TOKEN_LEEWAY = 60 * SECOND; // by which the clock here may be ahead before a token is called expired

/**
 * @param {(() => string | Promise<string>) | undefined} getToken
 * @param {import('./time.js').Timers} timers
 * @returns {Promise<string | undefined>} undefined when a cookie carries it
 */
export async function fetchToken(getToken, timers) {
  if (!getToken) return undefined;
  const timer = {}; // a name that no other has
  const late = timers.pause(timer, TOKEN_TIMEOUT).then(() => {
    throw noAnswer('getToken');
  });
  try {
    const token = await Promise.race([getToken(), late]);
    // Anything else, such as the HTML of a login page, could not travel as a subprotocol.
    if (typeof token === 'string' && /^[\w.-]+$/.test(token)) return token;
    throw new AldabaError('bad_token', 'getToken must give a JWT');
  } finally {
    timers.stop(timer);
  }
}

/** Whether it is a JWT whose time is over; of other tokens nothing is known. @param {string | undefined} token */
export function hasExpired(token) {
  try {
    const [, claims] = /** @type {string} */ (token).split('.');
    const { exp } = JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/')));
    return exp * SECOND < Date.now() - TOKEN_LEEWAY;
  } catch {
    return false;
  }
}

/** @param {any} error @returns {boolean} */
export function isFatal(error) {
  return error?.fatal === true;
}
