import { codeView } from './code.js';
import { Engine } from './engine.js';
import { generatedView } from './generated.js';
import { Hand } from './hand.js';
import { h } from './text.js';
import { page } from './main.js';
import { presenceView } from './presence.js';
import { liveView } from './prompt.js';

/** Puts the engine behind the page; the first module of pages that a server makes. */

const engine = new Engine(/** @type {import('./engine.js').Served} */ (page.data.engine));
const hand = new Hand(page);

page.live = {
  edge: (edge) => hand.toggle(String(edge)),
  unit: (u) => hand.toggle(page.units.units[u].name),
  block: (block) => hand.toggle(`block ${block}`),
  mark: (svg) => {
    const patched = hand.patched(page.store.state);
    svg.selectAll('g.edge').classed('cut', (/** @type {import('./units.js').Pair} */ pair) =>
      pair.edges.every((edge) => patched[edge]));
    const circuit = page.store.state.base === 'circuit';
    svg.selectAll('g.node').classed('cut', (/** @type {number} */ u) => {
      const edges = hand.edges(page.units.units[u].name);
      return !circuit && edges.length > 0 && edges.every((edge) => patched[edge]);
    });
  },
};
liveView(page, engine, hand);
document.querySelector('.cards')?.before(h('div', { class: 'cards' },
  generatedView(page, engine, hand), codeView(page, engine, hand)));
document.querySelector('main')?.prepend(presenceView(engine));
