// The demo page: one tab is one user.

import { connect } from '/aldaba.js';
import { tell } from './connection.js';
import { clear, entitle, mark, show } from './feed.js';
import { lines } from './lines.js';
import { $, make, say } from './page.js';
import { countUnread } from './unread.js';

/**
 * @typedef {object} User
 * @property {string} name
 * @property {string} display_name
 * @property {string[]} rooms
 * @property {string} org
 * @property {string[]} roles
 * @property {string[]} channels
 */

/**
 * The panels, the channels that they show, and a message to try each with.
 * @type {{id: string, of: RegExp, sample: Record<string, string>}[]}
 */
const PANELS = [
  { id: 'private', of: /^user:/, sample: { title: 'Your invoice is ready' } },
  { id: 'rooms', of: /^room:/, sample: { text: 'Anybody here?', from: 'backend' } },
  { id: 'broadcast', of: /^broadcast$/, sample: { title: 'Maintenance at noon' } },
  { id: 'news', of: /^org:/, sample: { title: 'We have moved' } },
  { id: 'blog', of: /^blogpost$/, sample: { title: 'A new post', author: 'Anna' } },
];

/** @type {import('/aldaba.js').Client | undefined} */
let client;
let port = 0;

/** @param {User} user */
const isAdmin = (user) => user.roles.includes('admin');
/** @param {User} user */
const shortName = (user) => user.display_name.replace(/ \(.*/, '');

/** @param {string} user */
async function getToken(user) {
  const response = await fetch('/demo/token', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ user }),
  });
  if (!response.ok) throw new Error(`no token: ${response.status}`);
  return (await response.json()).token;
}

/** Shows a panel's channels, and the lines for the first of them or the one that is chosen. @param {string[]} channels */
function describe(channels) {
  for (const { id, of, sample } of PANELS) {
    const own = channels.filter((channel) => of.test(channel));
    const names = own.map((channel) => make('code', {}, channel));
    $(id)
      .querySelector('.channels')
      .replaceChildren(...(own.length ? names : ['No channel of this user']));
    if (id === 'rooms') offer(own);
    const chosen = id === 'rooms' ? $('say-room').value : own[0];
    $(id)
      .querySelector('.lines')
      .replaceChildren(...(chosen ? lines(chosen, sample, port) : []));
  }
}

/** Lets the user speak in these rooms. @param {string[]} rooms */
function offer(rooms) {
  const select = $('say-room');
  const before = select.value;
  select.replaceChildren(...rooms.map((room) => make('option', { value: room }, room.slice('room:'.length))));
  if (rooms.includes(before)) select.value = before;
}

/** Explains a form, and shows it only to whom it is of use. @param {string} id @param {boolean} usable @param {string} hint */
function allow(id, usable, hint) {
  $(id).querySelector('.fields').hidden = !usable;
  $(id).querySelector('.hint').dataset.usual = hint;
  answer(id);
}

/** Says in a form why nothing happened, or again what it is for. @param {string} id @param {string} [why] */
function answer(id, why = '') {
  const hint = $(id).querySelector('.hint');
  hint.textContent = why || hint.dataset.usual;
  hint.classList.toggle('fault', why !== '');
  if (why) say(why);
}

/** Sends what a form says, and empties it. @param {string} id @param {() => Promise<void>} send */
function onSend(id, send) {
  const input = $(id).querySelector('input');
  $(id).onsubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const sent = input.value;
    try {
      await send();
      answer(id);
      if (input.value === sent) input.value = '';
    } catch (error) {
      answer(id, `Not sent: ${/** @type {Error} */ (error).message}.`);
    }
  };
}

/** Be a user: leave the old session, start a new one. @param {User} user */
function be(user) {
  const last = client;
  client = undefined;
  last?.close();
  clear();
  entitle(`${shortName(user)} · Aldaba`);

  const name = shortName(user);
  const channels = new Set(user.channels);
  const redraw = () => {
    describe([...channels]);
    const speaks = $('say-room').value !== '';
    allow(
      'say',
      speaks,
      speaks ? 'Whoever is in a room may also speak in it.' : `${name}’s token names no room.`,
    );
    $('rooms').querySelector('.empty').textContent = speaks
      ? 'Silence so far. Say something below, or paste a line into a terminal.'
      : 'No room yet. Knock at another door, at the end of this page, and what is said there appears here.';
  };
  redraw();
  $('private-about').textContent = `Only ${name} hears these, on every device.`;
  $('news-about').textContent = user.org
    ? `For everyone at ${user.org}.`
    : `${name} belongs to no organization.`;
  allow(
    'announce',
    isAdmin(user),
    isAdmin(user)
      ? 'From a page only an admin may send one.'
      : `${name} is no admin and may not send one from here.`,
  );

  allow('knock', true, 'Dora is an admin: any room opens for her.');

  const session = connect({ url: '/ws', getToken: () => getToken(user.name) });
  client = session;
  session.onState((state, info) => {
    if (client === session) tell(state, info);
  });
  session.onError((error) => console.warn(error));
  session.onMessage(({ channel, data }) => {
    const panel = PANELS.find(({ of }) => of.test(channel));
    if (panel) show(panel.id, channel, data);
  });
  countUnread(session, () => client === session);
  session.onResync((channel) => {
    const panel = PANELS.find(({ of }) => of.test(channel));
    if (panel) mark(panel.id);
  });
  session.onJoined((channel) => {
    if (channels.has(channel)) return;
    channels.add(channel);
    redraw();
  });
  session.onLeft((channel) => {
    if (channels.delete(channel)) redraw();
  });

  onSend('say', () => session.publish($('say-room').value, { text: $('say-text').value, from: name }));
  onSend('announce', () => session.publish('broadcast', { title: $('announce-text').value, from: name }));
  $('say-room').onchange = redraw;
  $('knock').onsubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const room = `room:${$('knock-room').value}`;
    const answered = session.subscribe(room).then(
      () => 'The door opens: joined.',
      (/** @type {any} */ error) => `${error.code}: ${error.message}`,
    );
    const waits = session.state === 'connecting' || session.state === 'waiting';
    answer('knock', waits ? 'Not asked yet: waiting for the connection.' : '');
    const words = await answered;
    if (client !== session) return;
    answer('knock');
    show('ask', room, words);
  };
}

/** A card to choose a user with. @param {User} user */
function card(user) {
  const radio = make('input', {
    type: 'radio',
    name: 'user',
    id: `user-${user.name}`,
    value: user.name,
    class: 'visually-hidden',
  });
  radio.addEventListener('change', () => {
    location.hash = user.name;
  });
  const about = isAdmin(user) ? 'admin' : user.rooms.join(', ');
  const name = shortName(user);
  return make(
    'label',
    { class: 'user' },
    radio,
    make('span', { class: 'initial', 'aria-hidden': 'true' }, name.slice(0, 1)),
    make('span', { class: 'who' }, make('b', {}, name), ' ', make('span', {}, about)),
  );
}

async function start() {
  /** @type {[User[], {redis_port: number, version: string}]} */
  const [users, info] = /** @type {any} */ (
    await Promise.all(['/demo/users', '/demo/info'].map(async (url) => (await fetch(url)).json()))
  );
  port = info.redis_port;
  const choose = () => {
    const at = Math.max(
      0,
      users.findIndex((user) => `#${user.name}` === location.hash),
    );
    const other = users[(at + 1) % users.length];
    $(`user-${users[at].name}`).checked = true;
    $('second').href = `#${other.name}`;
    $('second').textContent = `Open a second tab as ${shortName(other)}`;
    be(users[at]);
  };
  $('users').append(...users.map(card));
  $('footer').textContent = `Aldaba ${info.version} · Redis on port ${port}`;
  $('reconnect').addEventListener('click', () => client?.reconnect());
  $('leave').addEventListener('click', () => {
    if (client?.state === 'closed') client.reconnect();
    else client?.close();
  });
  $('skip').addEventListener('click', (/** @type {Event} */ event) => {
    event.preventDefault(); // the address says who one is
    $('private').focus();
  });
  addEventListener('hashchange', choose);
  choose();
}

start().catch((error) => {
  $('fault').hidden = false;
  $('fault').textContent = `The demo cannot start: ${error.message}`;
});
