import { attentionView } from './attention.js';
import { destName, edgeAt, edgeName, positionName } from './data.js';
import { term } from './glossary.js';
import { count, h, number, percent, signed } from './text.js';
import { describeUnit, inputsOf, outputsOf } from './units.js';

/** Says what is known of the node or the edge that is chosen. */

const SHOWN = 8;

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
export function panelView(page) {
  const panel = h('section', { class: 'panel', id: 'panel', 'aria-live': 'polite',
    'aria-label': 'What is chosen' });
  page.store.subscribe((state, changed) => {
    if (!['node', 'edge', 'size'].some((name) => changed.has(name))) {
      return;
    }
    const unit = page.units.byName.get(state.node);
    panel.replaceChildren(...(unit !== undefined ? ofNode(page, unit)
      : state.edge >= 0 && state.edge < page.data.edges ? ofEdge(page, state.edge)
      : ofNothing(page)));
  });
  return panel;
}

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement[]}
 */
function ofNothing(page) {
  return [
    h('h2', {}, 'How to read the picture'),
    h('p', {}, 'Information flows from left to right: from the embedding of the tokens through the'
      + ' blocks to the logits. Boxes are nodes: attention ', term('head', 'heads'), ' as rows, ',
      term('MLP', 'MLPs'), ' below them. Each curve is an ', term('edge'),
      ', as wide as its ', term('score'), '.'),
    h('p', {}, 'A head has three inputs: its queries (Q), keys (K) and values (V).'),
    h('p', {}, 'Drag the slider to make the ', term('circuit'),
      ' smaller or larger; choose a box or a curve to see more of it.'),
    ...(page.data.verified ? [h('h3', {}, 'How good the scores are'),
      h('p', {}, page.data.verified, '.')] : []),
  ];
}

/**
 * @param {import('./main.js').Page} page
 * @param {number} u
 * @returns {HTMLElement[]}
 */
function ofNode(page, u) {
  const { data, units } = page;
  const unit = units.units[u];
  const shared = [...units.units].filter((other) => other.kind === 'kv' && unit.kind === 'head'
    && other.name.split(' ')[0] === unit.name.split('.')[0]
    && other.slot < unit.slot && unit.slot < other.slot + 0.5 + other.readers);
  return [
    heading(page, unit.name),
    h('p', {}, capital(describeUnit(unit)), '.'),
    h('dl', { class: 'facts' },
      h('dt', {}, 'absolute scores into it'), h('dd', {}, number(page.sums.in[u])),
      h('dt', {}, 'out of it'), h('dd', {}, number(page.sums.out[u]))),
    ...shared.map((other) => h('p', {}, 'Its keys and values are shared: ',
      h('button', { class: 'link', type: 'button',
        onclick: () => page.store.set({ node: other.name, edge: -1 }) }, other.name), '.')),
    ...(unit.kind === 'head' ? attentionView(page, unit.name) : []),
    ...list(page, 'Strongest inputs', inputsOf(data, unit), (edge) => {
      const { src, dest } = edgeAt(data, edge);
      const port = /\.([QKV])$/.exec(data.dests[dest].name)?.[1];
      return data.srcs[src].name + (port && unit.ports.size > 1 ? ` → ${port}` : '');
    }),
    ...list(page, 'Strongest outputs', outputsOf(data, unit), (edge) =>
      destName(data.dests[edgeAt(data, edge).dest])),
  ];
}

/**
 * @param {import('./main.js').Page} page
 * @param {string} title
 * @param {number[]} edges
 * @param {(edge: number) => string} name
 * @returns {HTMLElement[]}
 */
function list(page, title, edges, name) {
  const { method, store, data } = page;
  const known = edges.filter((edge) => method.rank[edge] > 0)
    .sort((a, b) => method.rank[a] - method.rank[b]);
  if (!known.length) {
    return [];
  }
  const greatest = Math.abs(method.scores[known[0]]) || 1;
  return [
    h('h3', {}, title),
    h('ol', { class: 'bars' }, ...known.slice(0, SHOWN).map((edge) => {
      const score = method.scores[edge];
      const bar = h('span', { class: `bar ${page.signed && score < 0 ? 'negative' : 'positive'}` });
      bar.style.width = `${(100 * Math.abs(score)) / greatest}%`;
      const at = data.positions ? ` at ${positionName(data, edgeAt(data, edge).position)}` : '';
      return h('li', {}, h('button', {
        class: `row${method.rank[edge] <= store.state.size ? '' : ' outside'}`, type: 'button',
        onclick: () => store.set({ edge, node: '' }),
      }, h('span', { class: 'name' }, name(edge) + at), h('span', { class: 'n' }, signed(score)),
      bar));
    })),
    ...(known.length > SHOWN ? [h('p', { class: 'note' },
      `and ${count(known.length - SHOWN)} weaker ones; grey are those outside the circuit shown`)] : []),
  ];
}

/**
 * @param {import('./main.js').Page} page
 * @param {number} edge
 * @returns {HTMLElement[]}
 */
function ofEdge(page, edge) {
  const { data, method, units, store } = page;
  const { src, dest, position } = edgeAt(data, edge);
  const score = method.scores[edge];
  const error = method.errors?.[edge] ?? NaN;
  const exact = data.exact.get(edge);
  /** @param {number} u */
  const node = (u) => h('button', { class: 'link', type: 'button',
    onclick: () => store.set({ node: units.units[u].name, edge: -1 }) }, units.units[u].name);
  const rank = method.rank[edge];
  const unit = method.unit === 'none' ? '' : ` ${method.unit}`;
  return [
    heading(page, edgeName(data, edge)),
    h('p', {}, 'From ', node(units.ofSrc[src]), ' to ', node(units.ofDest[dest]),
      data.positions ? ` at position ${positionName(data, position)}` : '', '.'),
    h('dl', { class: 'facts' },
      h('dt', {}, term('score')), h('dd', {}, `${signed(score)}${unit}`),
      ...(Number.isFinite(error) ? [h('dt', {}, term('standard error')), h('dd', {}, number(error))]
        : []),
      ...(exact === undefined ? [] : [
        h('dt', {}, term('exact effect')), h('dd', {}, `${signed(exact)}${unit}`)]),
      h('dt', {}, 'rank'),
      h('dd', {}, rank ? `${count(rank)} of ${count(data.edges)}` : 'below those in this page')),
    ...(data.methods.length > 1 ? [h('h3', {}, 'By other methods'), h('dl', { class: 'facts' },
      ...data.methods.slice(1).flatMap((other) => [h('dt', {}, other.name),
        h('dd', {}, `${signed(other.scores[edge])}, rank ${other.rank[edge] ? count(other.rank[edge]) : '–'}`)]))] : []),
    h('p', {}, Math.abs(score) < 2 * error ? 'It is within two standard errors of 0: on other prompts'
      + ' it may well be nothing.' : page.signMeaning(score)),
    h('p', {}, rank && rank <= store.state.size ? 'It is in the circuit that is shown.'
      : 'It is not in the circuit that is shown. '),
    ...(rank > store.state.size ? [h('button', { type: 'button',
      onclick: () => store.set({ size: rank }) },
    `Show the circuit of ${count(rank)} edges`)] : []),
    ...(exact === undefined && data.exact.size ? [h('p', { class: 'note' },
      `${count(data.exact.size)} edges were patched one by one to check the scores; not this one`
      + ` (${percent(data.exact.size / data.edges)} of all were).`)] : []),
  ];
}

/**
 * @param {import('./main.js').Page} page
 * @param {string} text
 * @returns {HTMLElement}
 */
function heading(page, text) {
  return h('div', { class: 'heading' }, h('h2', {}, text), h('button', {
    class: 'close', type: 'button', 'aria-label': 'Choose nothing',
    onclick: () => page.store.set({ node: '', edge: -1 }),
  }, '×'));
}

/**
 * @param {string} text
 * @returns {string}
 */
function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}
