// The lines that cause what one sees: of redis-cli and of Python, complete, to be pasted as they are.

import { make, say } from './page.js';

const COPIED = 1500; // milliseconds for which a button says so

/** Names that a POSIX shell takes as they are; channels may have `|`, `#` and `~` too. */
const PLAIN = /^[\w.:@/+=%-]+$/;
/** @param {string} text between single quotes in a POSIX shell */
const escaped = (text) => text.replaceAll("'", "'\\''");
/** @param {string} text for a POSIX shell */
const quoted = (text) => (PLAIN.test(text) ? text : `'${escaped(text)}'`);

/**
 * The lines that publish a document of texts (JSON and Python write these alike).
 * @param {string} channel @param {Record<string, string>} data @param {number} port of Redis on this machine
 */
export function lines(channel, data, port) {
  const json = JSON.stringify(data);
  return [
    line('redis-cli', channel, `redis-cli -p ${port} publish `, quoted(channel), ` ${quoted(json)}`),
    line(
      'Python',
      channel,
      `python3 -c 'import json, redis; redis.Redis(port=${port}).publish(`,
      escaped(JSON.stringify(channel)),
      `, json.dumps(${escaped(json)}))'`,
    ),
  ];
}

/** @param {string} language @param {string} channel @param {string} before @param {string} name @param {string} rest */
function line(language, channel, before, name, rest) {
  const code = make('code', {}, before, make('b', {}, name), rest);
  const button = make(
    'button',
    { type: 'button', class: 'quiet copy', 'aria-label': `Copy the line of ${language} for ${channel}` },
    'Copy',
  );
  button.addEventListener('click', () => copy(code, button));
  return make('div', { class: 'line' }, make('span', { class: 'language' }, language), button, code);
}

/** @param {HTMLElement} code @param {HTMLElement} button */
async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent ?? '');
  } catch {
    // The browser may forbid it; then the line is at least selected.
    getSelection()?.selectAllChildren(code);
    say('Selected: copy it with the keyboard');
    return;
  }
  button.textContent = 'Copied';
  say('Copied');
  setTimeout(() => {
    button.textContent = 'Copy';
  }, COPIED);
}
