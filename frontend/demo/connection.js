// What the page says about its connection: always in the bar, and at length in a strip below it when something is wrong.

import { $ } from './page.js';

let wasLost = false;
/** @type {any} */
let ticking;

/** @type {Record<import('/aldaba.js').State, string>} */
const SHORT = { connecting: 'Connecting', open: 'Connected', waiting: 'Disconnected', closed: 'Signed out' };

/** @param {import('/aldaba.js').State} state @param {import('/aldaba.js').StateInfo} info */
export function tell(state, info) {
  clearInterval(ticking);
  wasLost = state === 'waiting' || (wasLost && state === 'connecting');
  $('state').dataset.state = state;
  // While attempt follows attempt nothing is news: the short word, which is read out, stays.
  const byHub = state === 'closed' && info.code !== 1000;
  $('state-text').textContent = wasLost ? SHORT.waiting : byHub ? 'Closed' : SHORT[state];
  $('leave').textContent = state === 'closed' ? 'Sign in' : 'Sign out';
  $('reconnect').textContent = state === 'closed' ? 'Sign in' : 'Try now';
  $('reconnect').disabled = state === 'connecting';
  const text = $('strip-text');
  if (state === 'waiting') {
    const count = () => {
      const seconds = Math.max(0, Math.ceil(((info.retryAt ?? 0) - Date.now()) / 1000));
      text.textContent = `The connection is lost. Next attempt in ${seconds} s.`;
    };
    count();
    ticking = setInterval(count, 250);
  } else if (wasLost) {
    text.textContent = 'The connection is lost. Trying …';
  } else if (byHub) {
    text.textContent = `The hub closed the connection: ${info.reason || info.code}.`;
  } else if (state === 'closed') {
    text.textContent = 'You are signed out.';
  }
  uncover(wasLost || state === 'closed');
}

/** Shows the strip or takes it away, and with it never the focus. @param {boolean} yes */
function uncover(yes) {
  const focused = $('strip').contains(document.activeElement);
  $('strip').hidden = !yes;
  if (focused && !yes) $('leave').focus();
}
