import { edgeAt, readData, sideOf } from './data.js';
import { controlsView, MOST_ZOOM } from './controls.js';
import { glossary, installTips } from './glossary.js';
import { graphView, MOST_NODES } from './graph.js';
import { heatView } from './heat.js';
import { panelView } from './panel.js';
import { positionsView } from './positions.js';
import { recoveryView } from './recovery.js';
import { Store } from './state.js';
import { edgesView, factsView, promptsView } from './tables.js';
import { count, h, number } from './text.js';
import { themeButton } from './theme.js';
import { makeUnits, sums } from './units.js';

/**
 * Puts the page together.
 *
 * @typedef {{data: import('./data.js').Data, method: import('./data.js').Method,
 *   units: import('./units.js').Units, store: Store<import('./state.js').State>, signed: boolean,
 *   sums: {in: Float64Array, out: Float64Array},
 *   circuit: (state: import('./state.js').State) => number[],
 *   look: (state: import('./state.js').State) => (edge: number) => import('./units.js').Look,
 *   signMeaning: (score: number) => string, live?: Live}} Page signed if the sign of scores means
 *   something; circuit gives the edges that are shown, the strongest first; live patches what is
 *   clicked, where a server runs circuits
 * @typedef {{edge: (edge: number) => void, unit: (u: number) => void,
 *   block: (block: number) => void, mark: (svg: any) => void}} Live mark shows what is patched
 */

/** Edges at first, where no circuit is known to do the task. */
const FIRST_SIZE = 40;
/** A circuit that does the task is shown at first, unless nobody could tell its edges apart. */
const MOST_AT_FIRST = 200;
/** Graphs with so few nodes are drawn whole at first. */
const FEW_NODES = 60;

const data = readData(/** @type {HTMLElement} */ (document.getElementById('data')).textContent ?? '');
const method = data.methods[0];
const units = makeUnits(data);
const store = new Store({
  size: Math.min(method.order.length,
    data.smallest && data.smallest.edges <= MOST_AT_FIRST ? data.smallest.edges : FIRST_SIZE),
  node: '', edge: -1, other: 0, all: units.units.length <= Math.min(FEW_NODES, MOST_NODES),
  positive: true, negative: true, position: -1, heat: 'both', theme: 'auto', zoom: 1,
  curve: 0, scale: 'log', prompt: 0,
  ...data.engine?.state,
}, mend);

/**
 * @param {import('./state.js').State} state
 * @returns {import('./state.js').State}
 */
function mend(state) {
  /** @param {number} x @param {number} low @param {number} high */
  const within = (x, low, high) => Math.min(Math.max(Math.round(x), low), high);
  return {
    ...state,
    size: within(state.size, 0, method.order.length),
    node: units.byName.has(state.node) ? state.node : '',
    edge: state.edge < data.edges ? within(state.edge, -1, data.edges) : -1,
    other: state.other < data.methods.length ? within(state.other, 0, data.methods.length) : 0,
    position: within(state.position, -1, data.positions - 1),
    heat: ['both', 'in', 'out'].includes(state.heat) ? state.heat : 'both',
    theme: ['auto', 'light', 'dark'].includes(state.theme) ? state.theme : 'auto',
    zoom: Math.min(Math.max(state.zoom, 1), MOST_ZOOM),
    curve: within(state.curve, 0, Math.max(data.curves.length - 1, 0)),
    prompt: within(state.prompt, 0, Math.max(data.attention.length - 1, 0)),
    scale: state.scale === 'linear' ? 'linear' : 'log',
  };
}

/** @type {Page} */
export const page = {
  data, method, units, store,
  signed: method.sign === 'signed',
  sums: sums(data, method, units),
  circuit,
  look,
  signMeaning,
};

/**
 * @param {import('./state.js').State} state
 * @returns {number[]}
 */
function circuit(state) {
  let edges = Array.from(method.order.subarray(0, state.size));
  if (state.other) {
    // Both circuits, by the better of two ranks.
    const other = data.methods[state.other];
    const best = (/** @type {number} */ edge) => Math.min(method.rank[edge] || Infinity,
      other.rank[edge] || Infinity);
    edges = [...new Set([...edges, ...other.order.subarray(0, state.size)])]
      .sort((a, b) => best(a) - best(b));
  } else {
    edges = edges.filter((edge) => (method.scores[edge] < 0 ? state.negative : state.positive));
  }
  return edges.filter((edge) => !data.positions || state.position < 0
    || edgeAt(data, edge).position === state.position);
}

/**
 * @param {import('./state.js').State} state
 * @returns {(edge: number) => import('./units.js').Look} how to draw an edge: by its sign, or by
 *     which of two circuits it is in
 */
function look(state) {
  /** @param {number} edge @param {import('./data.js').Method} of */
  const scored = (edge, of) => ({
    score: of.scores[edge],
    share: Math.min(1, Math.abs(of.scores[edge] / of.scores[of.order[0]])) || 0,
  });
  if (!state.other) {
    return (edge) => ({
      ...scored(edge, method),
      kind: page.signed && method.scores[edge] < 0 ? 'negative' : 'positive',
    });
  }
  const other = data.methods[state.other];
  return (edge) => {
    const kind = sideOf(edge, method, other, state.size);
    return { kind, ...scored(edge, kind === 'right' ? other : method) };
  };
}

/**
 * @param {number} score
 * @returns {string}
 */
function signMeaning(score) {
  if (!page.signed) {
    return 'Scores of this method say how much an edge matters, not whether for or against the'
      + ' answer.';
  }
  if (!score) {
    return 'The edge makes no difference.';
  }
  return score > 0
    ? 'It works for the answer: with this edge patched the model does the task worse.'
    : 'It works against the answer: with this edge patched the model does the task better.';
}

/** @returns {HTMLElement} */
function legend() {
  const place = h('div', { class: 'legend' });
  store.subscribe((state, changed) => {
    if (changed.has('other') || (state.other && changed.has('size'))) {
      place.replaceChildren(...(state.other ? sides(state) : signs()));
    }
  });
  return place;
}

/**
 * @param {import('./state.js').State} state
 * @returns {HTMLElement[]}
 */
function sides(state) {
  const other = data.methods[state.other];
  const of = { both: 0, left: 0, right: 0 };
  circuit(state).forEach((edge) => { of[sideOf(edge, method, other, state.size)]++; });
  /** @param {'both'|'left'|'right'} kind @param {string} text */
  const entry = (kind, text) => h('span', { id: `side-${kind}` },
    h('span', { class: `sample ${kind}` }), `${text}: ${count(of[kind])}`);
  return [entry('both', 'in both circuits'), entry('left', `only in that of ${method.name}`),
    entry('right', `only in that of ${other.name}`)];
}

/** @returns {HTMLElement[]} */
function signs() {
  const most = number(Math.abs(method.scores[method.order[0]]));
  const unit = method.unit === 'none' ? '' : ` ${method.unit}`;
  return [
    ...(page.signed ? [
      h('span', {}, h('span', { class: 'sample positive' }),
        'works for the answer: patching it makes the model do worse'),
      h('span', {}, h('span', { class: 'sample negative' }),
        'works against the answer: patching it makes the model do better'),
    ] : []),
    h('span', {}, `width: absolute score, up to ${most}${unit}`),
  ];
}

const root = /** @type {HTMLElement} */ (document.getElementById('page'));
/** @param {string} name */
const fact = (name) => data.facts.find(([of]) => of === name)?.[1];
root.replaceChildren(
  h('header', {}, h('div', {}, h('h1', {}, data.title),
    h('p', { class: 'note' }, [fact('model'), fact('prompts')].filter(Boolean).join(' · '))),
  themeButton(store)),
  h('main', {},
    method.meaning ? h('p', { class: 'meaning' }, method.meaning) : '',
    controlsView(page), legend(),
    h('div', { class: 'explore' }, graphView(page), panelView(page)),
    h('div', { class: 'cards' }, recoveryView(page) ?? '', heatView(page) ?? '',
      positionsView(page) ?? ''),
    h('div', { class: data.prompts ? 'cards lists' : 'cards' }, edgesView(page),
      promptsView(page) ?? ''), factsView(page),
    h('section', { class: 'card', 'aria-label': 'Glossary' }, h('details', {},
      h('summary', {}, 'Glossary'), glossary()))));
installTips(root);
