// The badge: how many private messages the user has not read, on any device.

import { $, say } from './page.js';

/** Shows how many messages are unread. @param {number} [count] of them; undefined: not known */
export function badge(count = 0) {
  const focused = document.activeElement === $('read');
  $('unread').textContent = count === 1 ? '1 unread' : `${count} unread`;
  $('unread').hidden = $('read').hidden = count === 0;
  if (focused && count === 0) $('private').focus();
}

/**
 * Counts for one user, until another one comes.
 * @param {import('/aldaba.js').Client} session @param {() => boolean} present
 */
export function countUnread(session, present) {
  const isPrivate = (/** @type {string} */ channel) => channel.startsWith('user:');
  badge();
  session.onRead((channel, unread) => {
    if (present() && isPrivate(channel)) badge(unread);
  });
  $('read').onclick = async () => {
    const channel = session.channels.find(isPrivate);
    if (!channel) return;
    try {
      badge(await session.ack(channel));
      say('All read, on every device.');
    } catch (error) {
      say(`Not marked: ${/** @type {Error} */ (error).message}.`);
    }
  };
}
