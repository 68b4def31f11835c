import { Refused } from './engine.js';
import { lines } from './generated.js';
import { count, h } from './text.js';

/** Has the edges scored by another method, and shows the page of those scores then. */

/**
 * @param {import('./main.js').Page} page
 * @param {import('./engine.js').Engine} engine
 * @returns {HTMLElement}
 */
export function methodChoice(page, engine) {
  const { served } = engine;
  const note = h('span', { class: 'note', id: 'scoring', role: 'status' });
  /** @type {AbortController|null} */
  let running = null;
  const select = /** @type {HTMLSelectElement} */ (h('select', { id: 'method',
    onchange: () => score() }, ...served.methods.map((name) => h('option', { value: name }, name))));
  select.value = served.method;
  const again = h('button', { type: 'button', id: 'rescore', hidden: true, onclick: () => score() });
  const stop = h('button', { type: 'button', hidden: true, onclick: () => running?.abort() }, 'Stop');
  page.store.subscribe((state) => {
    again.hidden = state.ablation === served.ablation;
    again.textContent = `Score with ${state.ablation}`;
  });

  async function score() {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    const { ablation } = page.store.state;
    const method = select.value;
    stop.hidden = false;
    note.textContent = 'scores the edges …';
    try {
      const response = await engine.send('/scores', { method, ablation }, mine.signal);
      for await (const line of lines(response)) {
        if (line.problem) {
          throw new Refused(line.problem);
        }
        if (line.ready) {
          show(method, ablation ?? '');
          return;
        }
        note.textContent = `scores the edges: ${count(line.done)} of ${count(line.total)}`;
      }
      throw new Error('broke off');
    } catch (e) {
      if (running === mine) {
        running = null;
        stop.hidden = true;
        select.value = served.method;
        note.textContent = mine.signal.aborted ? 'stopped'
          : e instanceof Refused ? e.message : 'the server does not answer';
      }
    }
  }

  /**
   * @param {string} method
   * @param {string} ablation
   */
  function show(method, ablation) {
    const address = new URL(location.href);
    address.searchParams.set('method', method);
    address.searchParams.set('ablation', ablation);
    // The ablation is the other page's own, and would not be in its fragment.
    location.assign(address);
  }
  return h('span', { class: 'methods' }, h('label', {}, 'scored by ', select), again, stop, note);
}
