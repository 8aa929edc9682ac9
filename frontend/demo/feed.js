// The feeds: what arrived in each panel, newest first. It is only ever put on the page as text.

import { $, make } from './page.js';

const KEEP = 30; // entries that a feed holds
const BURST = 400; // milliseconds: what arrives within them is read out as one

let title = document.title;
let unread = 0;

/** What the tab is called; messages that arrive while nobody looks are counted before it. @param {string} words */
export function entitle(words) {
  title = words;
  unread = 0;
  document.title = title;
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) entitle(title);
});

function count() {
  if (!document.hidden) return;
  unread++;
  document.title = `(${unread}) ${title}`;
}

/**
 * Finds the words in a message of unknown shape; one that has none is shown as it is.
 * @param {any} data
 * @returns {{headline: Node, headlineText: string, more: string[], from?: string}}
 */
function words(data) {
  const isObject = data !== null && typeof data === 'object' && !Array.isArray(data);
  const known = isObject
    ? ['title', 'text', 'body', 'message'].filter((key) => typeof data[key] === 'string')
    : [];
  const [headline, ...more] = typeof data === 'string' ? [data] : known.map((key) => data[key]);
  if (headline === undefined) {
    const text = JSON.stringify(data);
    return { headline: make('code', {}, text), headlineText: text, more: [] };
  }
  const from = [data.from, data.author, data.by].find((name) => typeof name === 'string');
  return { headline: document.createTextNode(headline), headlineText: headline, more, from };
}

/** Shows a message. @param {string} panel @param {string} channel @param {any} data */
export function show(panel, channel, data) {
  const { headline, headlineText, more, from } = words(data);
  const now = new Date();
  const meta = make('p', { class: 'meta' });
  if (from) meta.append(make('span', {}, from));
  meta.append(make('code', {}, channel));
  meta.append(
    make('time', { datetime: now.toISOString() }, now.toLocaleTimeString([], { timeStyle: 'medium' })),
  );
  prepend(
    panel,
    make(
      'li',
      { class: 'entry' },
      make('p', { class: 'headline' }, headline),
      ...more.map((line) => make('p', {}, line)),
      meta,
    ),
  );
  count();
  readOut(`${$(`${panel}-title`).textContent}: ${headlineText}`);
}

/** @type {string[]} */
let unsaid = [];

/** Tells screen readers, of a burst only how many: reading out fifty messages would help nobody. @param {string} words */
function readOut(words) {
  unsaid.push(words);
  if (unsaid.length > 1) return;
  setTimeout(() => {
    $('arrived').textContent = unsaid.length > 2 ? `${unsaid.length} new messages` : unsaid.join('. ');
    unsaid = [];
  }, BURST);
}

/** Marks the place where messages may be missing. An empty feed misses nothing that anybody saw. @param {string} panel */
export function mark(panel) {
  const newest = $(panel).querySelector('.entries').firstElementChild;
  if (!newest || newest.className === 'gap') return;
  prepend(panel, make('li', { class: 'gap' }, 'Messages may have been missed here'));
}

const resizes = new ResizeObserver((changes) => {
  for (const { target } of changes) reach(target);
});
for (const feed of document.querySelectorAll('.feed')) resizes.observe(feed);

/** @param {string} panel @param {Node} entry */
function prepend(panel, entry) {
  const entries = $(panel).querySelector('.entries');
  entries.prepend(entry);
  while (entries.children.length > KEEP) entries.lastElementChild.remove();
  reach(entries.parentElement);
}

/** A feed is a stop for the Tab key, with a name, only while there is something to scroll. @param {Element} feed */
function reach(feed) {
  const name = feed.parentElement?.getAttribute('aria-labelledby') ?? '';
  const attributes = { tabindex: '0', role: 'group', 'aria-labelledby': name };
  const scrolls = feed.scrollHeight > feed.clientHeight;
  for (const [attribute, value] of Object.entries(attributes)) {
    if (scrolls) feed.setAttribute(attribute, value);
    else feed.removeAttribute(attribute);
  }
}

/** Another user must not see what the last one did. */
export function clear() {
  for (const entries of document.querySelectorAll('.entries')) {
    entries.replaceChildren();
    reach(/** @type {Element} */ (entries.parentElement));
  }
}
