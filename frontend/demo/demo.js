// The demo page: one tab is one user. What arrives is only ever put on the page as text.

import { connect } from '/aldaba.js';

const KEEP = 30; // entries that a feed holds
const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

/** @type {ReturnType<typeof connect> | undefined} */
let client;

/**
 * Makes an element with text and attributes.
 * @param {string} tag @param {Record<string, string>} attributes @param {...(Node | string)} children
 */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The words of a message of unknown shape. @param {any} data */
function words(data) {
  if (data === null || typeof data !== 'object' || Array.isArray(data)) {
    return [typeof data === 'string' ? data : JSON.stringify(data)];
  }
  const known = ['title', 'text', 'body', 'message', 'author', 'from'].filter(
    (key) => typeof data[key] === 'string',
  );
  return known.length ? known.map((key) => data[key]) : [JSON.stringify(data, null, 1)];
}

/** @param {string} panel @param {string} label @param {string[]} lines */
function show(panel, label, lines) {
  const feed = $(panel).querySelector('.feed');
  const [first, ...rest] = lines;
  const meta = make('p', { class: 'meta' }, make('code', {}, label), ` ${new Date().toLocaleTimeString()}`);
  feed.prepend(
    make(
      'article',
      { class: 'entry' },
      make('p', { class: 'title' }, first),
      ...rest.map((line) => make('p', {}, line)),
      meta,
    ),
  );
  while (feed.children.length > KEEP) feed.lastElementChild.remove();
}

/** A line to copy. @param {string} name @param {string} line */
function snippet(name, line) {
  const button = make(
    'button',
    { type: 'button', class: 'quiet', 'aria-label': `Copy the line for ${name}` },
    'Copy',
  );
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(line).catch(() => {});
    button.textContent = 'Copied';
    setTimeout(() => {
      button.textContent = 'Copy';
    }, 1500);
  });
  return make(
    'div',
    { class: 'snippet' },
    make('span', {}, name),
    make('pre', { tabindex: '0' }, line),
    button,
  );
}

/** @param {string} panel @param {string[]} channels @param {object} data @param {number} port */
function describe(panel, channels, data, port) {
  $(panel).querySelector('.channel code').textContent = channels.join('  ') || 'no channel of this user';
  const json = JSON.stringify(data);
  const lines = channels
    .slice(0, 1)
    .flatMap((channel) => [
      snippet('redis-cli', `redis-cli -p ${port} publish ${channel} '${json}'`),
      snippet('Python', `redis.Redis(port=${port}).publish("${channel}", json.dumps(${json}))`),
    ]);
  $(panel)
    .querySelector('.snippets')
    .replaceChildren(...lines);
}

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

/** Answers a form with what a command said. @param {any} form @param {() => Promise<unknown>} command */
function onSubmit(form, command) {
  form.onsubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const answer = form.querySelector('.answer');
    try {
      await command();
      if (answer) answer.textContent = '';
      form.querySelector('input').value = '';
    } catch (error) {
      if (answer) answer.textContent = /** @type {Error} */ (error).message;
    }
  };
}

/** Be a user: leave the old session, start a new one. @param {any} user @param {number} port */
function be(user, port) {
  client?.close();
  for (const feed of document.querySelectorAll('.feed')) feed.replaceChildren();
  const rooms = user.rooms.map((/** @type {string} */ room) => `room:${room}`);
  const news = user.channels.filter((/** @type {string} */ channel) => channel.startsWith('org:'));
  const own = `user:${user.name}`;
  describe('private', [own], { title: 'Your invoice is ready' }, port);
  describe('rooms', rooms, { text: 'Anybody here?', from: 'backend' }, port);
  describe('broadcast', ['broadcast'], { title: 'Maintenance at noon' }, port);
  describe('news', news, { title: 'We have moved' }, port);
  describe('blog', ['blogpost'], { title: 'A new post', author: 'Anna' }, port);
  $('private-about').textContent = `Only ${user.display_name} hears these, on every device.`;
  $('news-about').textContent = news.length
    ? `For everyone at ${user.org}.`
    : 'This user belongs to no organization.';
  $('announce').hidden = !user.roles.includes('admin');
  $('say').hidden = rooms.length === 0;
  $('say-room').replaceChildren(...rooms.map((/** @type {string} */ room) => make('option', {}, room)));

  const session = connect({ url: '/ws', getToken: () => getToken(user.name) });
  client = session;
  const hear = (/** @type {string} */ channel, /** @type {string} */ panel) =>
    session.on(channel, (/** @type {any} */ data) => show(panel, channel, words(data)));
  hear(own, 'private');
  for (const room of rooms) hear(room, 'rooms');
  hear('broadcast', 'broadcast');
  for (const channel of news) hear(channel, 'news');
  hear('blogpost', 'blog');
  session.onState((state, info) => {
    $('state').dataset.state = state;
    $('state-text').textContent = {
      connecting: 'Connecting',
      open: 'Connected',
      waiting: 'Waiting',
      closed: 'Closed',
    }[state];
    $('state-more').textContent = info.reason ?? '';
    $('reconnect').hidden = state !== 'waiting' && state !== 'closed';
  });
  onSubmit($('say'), () =>
    session.publish($('say-room').value, { text: $('say-text').value, from: user.display_name }),
  );
  onSubmit($('announce'), () =>
    session.publish('broadcast', { title: $('announce-text').value, from: user.display_name }),
  );
  onSubmit($('knock'), async () => {
    const room = `room:${$('knock-room').value}`;
    try {
      await session.subscribe(room);
      hear(room, 'rooms');
      show('ask', room, ['The door opens: joined.']);
    } catch (error) {
      const { code, message } = /** @type {any} */ (error);
      show('ask', room, [`${code}: ${message}`]);
    }
  });
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  $('theme').setAttribute('aria-pressed', String(!dark));
  try {
    localStorage.setItem('aldaba-theme', root.dataset.theme);
  } catch {
    // Storage may be forbidden; then the choice lasts as long as the page.
  }
}

async function start() {
  const [users, info] = await Promise.all(
    ['/demo/users', '/demo/info'].map(async (url) => (await fetch(url)).json()),
  );
  const choose = () => {
    const user = users.find((/** @type {any} */ one) => `#${one.name}` === location.hash) ?? users[0];
    const radio = $(`user-${user.name}`);
    radio.checked = true;
    document.title = `${user.display_name} · Aldaba`;
    be(user, info.redis_port);
  };
  for (const user of users) {
    const radio = make('input', { type: 'radio', name: 'user', id: `user-${user.name}`, value: user.name });
    radio.addEventListener('change', () => {
      location.hash = user.name;
    });
    const about = user.roles.includes('admin') ? 'admin' : user.rooms.join(', ');
    $('users').append(
      make('label', { class: 'user' }, radio, make('b', {}, user.display_name), make('span', {}, about)),
    );
  }
  $('footer').textContent = `Aldaba ${info.version}, Redis on port ${info.redis_port}`;
  $('second-tab').textContent = 'The address remembers who you are: a second tab can be somebody else.';
  $('theme').addEventListener('click', toggleTheme);
  $('reconnect').addEventListener('click', () => client?.reconnect());
  addEventListener('hashchange', choose);
  choose();
}

start().catch((error) => {
  $('notice').hidden = false;
  $('notice').textContent = `The demo cannot start: ${error.message}`;
});
