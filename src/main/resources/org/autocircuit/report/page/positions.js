import { positionName } from './data.js';
import { term } from './glossary.js';
import { shade } from './heat.js';
import { bare, h, number } from './text.js';

/** Shows sums of absolute scores by layer and token position, the words of prompts as columns. */

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement|null}
 */
export function positionsView(page) {
  const { data, store } = page;
  if (!data.positions) {
    return null;
  }
  const rows = sumsByPosition(page);
  const greatest = Math.max(...[...rows.values()].flat()) || 1;
  const table = h('table', { class: 'heat' });
  const places = Array.from({ length: data.positions }, (_, position) => position);
  const draw = () => table.replaceChildren(
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'into'), ...places.map((position) =>
      h('th', { scope: 'col' }, h('button', {
        class: 'link word', type: 'button', 'data-position': position,
        'data-tip': `Show the edges at position ${positionName(data, position)}`,
        onclick: () => store.set({ position: store.state.position === position ? -1 : position }),
      }, bare(data.words[position] ?? '') || String(position)))))),
    h('tbody', {}, ...[...rows].map(([name, values]) => h('tr', {}, h('th', { scope: 'row' }, name),
      ...values.map((value, position) => {
        const td = h('td', { 'data-tip': `${name} at ${positionName(data, position)}: ${
          number(value)}` }, number(value));
        shade(td, value / greatest);
        return td;
      })))));
  store.subscribe((state, changed) => {
    if (changed.has('theme')) {
      draw();
    }
    table.querySelectorAll('.word').forEach((word) => word.setAttribute('aria-pressed',
      String(word.getAttribute('data-position') === String(state.position))));
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  return h('section', { class: 'card', id: 'positions', 'aria-label': 'Positions' },
    h('h2', {}, 'Layers by position'),
    h('p', {}, 'Sums of the absolute ', term('score', 'scores'),
      ' of all edges into a layer at each token. Choose a word to see its edges alone.'),
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Map of positions' },
      table));
}

/**
 * @param {import('./main.js').Page} page
 * @returns {Map<string, number[]>} by layer, in the order of a pass
 */
function sumsByPosition(page) {
  const { data, method, units } = page;
  /** @type {Map<string, number[]>} */
  const rows = new Map();
  data.dests.forEach((dest, d) => {
    const unit = units.units[units.ofDest[d]];
    const name = unit.kind === 'other' ? unit.name : `heads of block ${unit.block}`;
    const row = rows.get(name) ?? new Array(data.positions).fill(0);
    rows.set(name, row);
    const module = data.modules[dest.module];
    for (let position = 0; position < data.positions; position++) {
      const first = module.offset + (position * module.rows + dest.row) * module.n;
      for (let i = 0; i < module.n; i++) {
        row[position] += Math.abs(method.scores[first + i]) || 0;
      }
    }
  });
  return rows;
}
