import { h } from './text.js';

/**
 * Takes changes back, and makes them once more. What a page shows is in its address; so the past is
 * a list of fragments, kept by the browser while the tab lives.
 */

const MOST = 200;
/** Changes that follow one another so soon, as those of a slider, are taken back at once. */
const TOGETHER = 600;

/** Parts of the state that are worth a step; what is chosen or how it is coloured is not. */
const STEPS = ['clean', 'corrupt', 'answer', 'wrong', 'base', 'hand', 'ablation', 'at', 'size',
  'positive', 'negative'];

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement} buttons
 */
export function pastView(page) {
  const { store } = page;
  /** @type {{steps: Record<string, any>[], now: number}} */
  let past = { steps: [values()], now: 0 };
  let last = 0;
  let lastNames = '';
  let going = false;
  const undo = h('button', { type: 'button', id: 'undo', onclick: () => go(-1),
    'data-tip': 'Take the last change back (Ctrl Z)' }, 'Undo');
  const redo = h('button', { type: 'button', id: 'redo', onclick: () => go(1),
    'data-tip': 'Make it once more (Ctrl Y)' }, 'Redo');

  /** @returns {Record<string, any>} */
  function values() {
    return Object.fromEntries(STEPS.map((name) => [name, /** @type {any} */ (store.state)[name]]));
  }

  function show() {
    undo.toggleAttribute('disabled', past.now === 0);
    redo.toggleAttribute('disabled', past.now === past.steps.length - 1);
  }

  /** @param {number} by */
  function go(by) {
    const there = past.now + by;
    if (there >= 0 && there < past.steps.length) {
      past.now = there;
      going = true;
      store.set(past.steps[there]);
      going = false;
      lastNames = '';
      show();
    }
  }

  store.subscribe((_, changed) => {
    const names = STEPS.filter((name) => changed.has(name));
    if (going || !names.length) {
      return;
    }
    const soon = performance.now() - last < TOGETHER && names.join() === lastNames
      && names.join() === 'size' && past.now > 0;
    past.steps.length = past.now + (soon ? 0 : 1);
    past.steps.push(values());
    past.steps.splice(0, past.steps.length - MOST);
    past.now = past.steps.length - 1;
    last = performance.now();
    lastNames = names.join();
    show();
  });
  past = { steps: [values()], now: 0 };
  lastNames = '';
  show();
  addEventListener('keydown', (event) => {
    const typing = event.target instanceof HTMLInputElement
      && ['text', 'search', 'number'].includes(event.target.type);
    const name = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && !typing && (name === 'z' || name === 'y')) {
      event.preventDefault();
      go(name === 'y' || event.shiftKey ? 1 : -1);
    }
  });
  return h('span', { class: 'past' }, undo, ' ', redo);
}
