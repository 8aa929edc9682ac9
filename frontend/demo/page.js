// What every part of the page uses.

/** The element of that id, which index.html has. @returns {any} */
export const $ = (/** @type {string} */ id) => document.getElementById(id);

/**
 * Makes an element with attributes. Strings among the children become text, never markup.
 * @param {string} tag @param {Record<string, string>} attributes @param {...(Node | string)} children
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const MOMENT = 50; // milliseconds in which the last words are gone, so that the same ones are news again

/** Tells screen readers what came of something the user did. @param {string} words */
export function say(words) {
  $('said').textContent = '';
  setTimeout(() => {
    $('said').textContent = words;
  }, MOMENT);
}
