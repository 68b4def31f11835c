import { h } from './text.js';

/** Says when the server has gone, and when another one is there. */

/** @type {Record<import('./engine.js').Presence, string>} */
const SAYS = {
  there: '',
  away: 'The server does not answer. This page goes on when it is back: start it once more with the'
    + ' same --port and --token.',
  other: 'Another model is served here now. Reload the page to see it.',
  stranger: 'A server with another token is here now: open the address that it printed.',
};

/**
 * @param {import('./engine.js').Engine} engine
 * @returns {HTMLElement}
 */
export function presenceView(engine) {
  const place = h('p', { class: 'presence', id: 'presence', role: 'alert', hidden: true });
  engine.subscribe((presence) => {
    place.textContent = SAYS[presence];
    place.hidden = presence === 'there';
    document.body.classList.toggle('away', presence !== 'there');
  });
  return place;
}
