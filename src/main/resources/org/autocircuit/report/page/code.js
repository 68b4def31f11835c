import { Refused } from './engine.js';
import { question } from './hand.js';
import { h } from './text.js';

/** Gives what is shown as a program and as a command. */

/**
 * @param {import('./main.js').Page} page
 * @param {import('./engine.js').Engine} engine
 * @param {import('./hand.js').Hand} hand
 * @returns {HTMLElement}
 */
export function codeView(page, engine, hand) {
  const shown = h('pre', { id: 'code', tabindex: '0', role: 'region', 'aria-label': 'Code',
    hidden: true });
  const note = h('span', { class: 'note', role: 'status' });
  /** @param {'java'|'command'} kind */
  const copy = async (kind) => {
    let text = '';
    note.textContent = '';
    try {
      const said = await engine.ask('/code', question(page, hand.patched(page.store.state)));
      text = said[kind];
      note.textContent = text ? '' : 'No command patches with means; copy it as Java.';
    } catch (e) {
      note.textContent = e instanceof Refused ? e.message : 'The server does not answer.';
    }
    shown.textContent = text;
    shown.hidden = !text;
    shown.dataset.kind = kind;
    if (text) {
      // Browsers may refuse: then it can be copied from where it stands.
      await navigator.clipboard.writeText(text).then(() => { note.textContent = 'Copied.'; },
        () => { note.textContent = 'Select and copy it:'; });
    }
  };
  return h('section', { class: 'card', 'aria-label': 'As code' },
    h('h2', {}, 'What is shown, as code'),
    h('p', {}, h('button', { type: 'button', id: 'java', onclick: () => copy('java') },
      'Copy as Java'), ' ',
    h('button', { type: 'button', id: 'command', onclick: () => copy('command') },
      'Copy as command'), ' ', note), shown);
}
