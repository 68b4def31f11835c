import { edgeName } from './data.js';
import { term } from './glossary.js';
import { bare, count, counted, h, number, percent, signed } from './text.js';

/** Lists edges and prompts in tables that can be sorted. */

const MOST_ROWS = 100;

/**
 * @template T
 * @typedef {{title: Node|string, name: string, cell: (row: T) => Node|string,
 *   key: (row: T) => number|string|null, numeric: boolean}} Column
 */

/**
 * @template T
 * @param {Column<T>[]} columns
 * @param {T[]} rows
 * @param {string} label
 * @param {number} first how many rows to show at first
 * @returns {HTMLElement}
 */
function sortable(columns, rows, label, first) {
  let by = -1;
  let down = true;
  let shown = first;
  const body = h('tbody');
  const more = h('button', { type: 'button', onclick: () => { shown *= 4; fill(); } }, 'More');
  const heads = columns.map((column, c) => h('th', { scope: 'col', class: column.numeric ? 'n' : '' },
    h('button', { class: 'sort', type: 'button', onclick: () => {
      down = by === c ? !down : column.numeric;
      by = c;
      fill();
    } }, column.title)));

  function fill() {
    const sorted = by < 0 ? rows : [...rows].sort((a, b) => {
      const x = columns[by].key(a);
      const y = columns[by].key(b);
      // Rows without a number come last, either way.
      if (x === null || y === null) {
        return x === y ? 0 : x === null ? 1 : -1;
      }
      return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
    });
    heads.forEach((th, c) => (c === by
      ? th.setAttribute('aria-sort', down ? 'descending' : 'ascending')
      : th.removeAttribute('aria-sort')));
    body.replaceChildren(...sorted.slice(0, shown).map((row) => h('tr', {}, ...columns.map(
      (column) => h('td', { class: column.numeric ? 'n' : '' }, column.cell(row))))));
    more.hidden = shown >= rows.length;
  }
  fill();
  return h('div', {}, h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label },
    h('table', {}, h('thead', {}, h('tr', {}, ...heads)), body)), more);
}

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
export function edgesView(page) {
  const { data, method, store } = page;
  const place = h('div');
  const title = h('h2');
  store.subscribe((state, changed) => {
    if (!['size', 'positive', 'negative', 'position', 'other'].some((name) => changed.has(name))) {
      return;
    }
    const chosen = page.circuit(state);
    const listed = chosen.slice(0, 10 * MOST_ROWS);
    title.textContent = `Edges of the circuit${listed.length < chosen.length
      ? `, the ${count(listed.length)} strongest of ${count(chosen.length)}` : ''}`;
    /** @type {Column<number>[]} */
    const columns = [
      { title: 'rank', name: 'rank', numeric: true, key: (e) => -method.rank[e],
        cell: (e) => count(method.rank[e]) },
      { title: 'edge', name: 'edge', numeric: false, key: (e) => edgeName(data, e),
        cell: (e) => h('button', { class: 'link', type: 'button',
          onclick: () => store.set({ edge: e, node: '' }) }, edgeName(data, e)) },
      { title: 'score', name: 'score', numeric: true, key: (e) => method.scores[e],
        cell: (e) => signed(method.scores[e]) },
    ];
    const { errors } = method;
    if (errors) {
      columns.push({ title: '± s.e.', name: 'error', numeric: true, key: (e) => errors[e],
        cell: (e) => number(errors[e]) });
    }
    if (data.exact.size) {
      columns.push({ title: 'exact effect', name: 'exact', numeric: true,
        key: (e) => data.exact.get(e) ?? null,
        cell: (e) => (data.exact.has(e) ? signed(data.exact.get(e)) : '') });
    }
    data.methods.slice(1).forEach((other) => columns.push({
      title: `rank by ${other.name}`, name: other.name, numeric: true,
      key: (e) => -other.rank[e], cell: (e) => count(other.rank[e]),
    }));
    place.replaceChildren(sortable(columns, listed, 'Table of edges', 12));
  });
  return h('section', { class: 'card', id: 'list', 'aria-label': 'Edges' }, title, place);
}

/** A share means nothing on a prompt on which all edges and none are nearly alike. */
const LEAST_RANGE = 0.1;

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement|null}
 */
export function promptsView(page) {
  const { store, data: { prompts, curves } } = page;
  if (!prompts?.rows.length) {
    return null;
  }
  const text = h('p', {});
  const place = h('div');
  let shown = '';
  store.subscribe((state) => {
    const curve = curves[state.curve];
    const measured = (curve?.found ?? []).filter((point) => point.prompts);
    // That of the size which is nearest, so that the table goes along with the slider.
    const circuit = d3.least(measured, (point) => Math.abs(Math.log((point.edges + 1)
      / (state.size + 1))));
    if (shown === `${state.curve} ${circuit?.edges}`) {
      return;
    }
    shown = `${state.curve} ${circuit?.edges}`;
    text.replaceChildren(...(curve && circuit ? [
      `The ${curve.metric} with all edges, with the `,
      h('button', { class: 'link', type: 'button',
        onclick: () => store.set({ size: circuit.edges }) }, counted(circuit.edges, 'edge')),
      measured.length > 1 ? ' of the measured size nearest to that of the slider,' : ' of the circuit,',
      ' and with none: all others are ', term('patched'), '. ',
    ] : []), 'Marked tokens differ in the ', term('corrupt prompt'),
    '; point at one to see what stands there.', prompts.rows.length < prompts.of
      ? ` The first ${count(prompts.rows.length)} of ${count(prompts.of)}.` : '');
    place.replaceChildren(sortable(promptColumns(curve, circuit), [...prompts.rows.keys()]
      .map((i) => ({ i, prompt: prompts.rows[i] })), 'Table of prompts', 12));
  });
  return h('section', { class: 'card', id: 'prompts', 'aria-label': 'Prompts' },
    h('h2', {}, 'Prompts one by one'), text, place);
}

/**
 * @typedef {{i: number, prompt: import('./data.js').Prompt}} PromptRow
 * @param {import('./data.js').Curve|undefined} curve
 * @param {import('./data.js').Point|undefined} circuit
 * @returns {Column<PromptRow>[]}
 */
function promptColumns(curve, circuit) {
  /** @type {Column<PromptRow>[]} */
  const columns = [
    { title: 'prompt', name: 'prompt', numeric: false, key: (r) => r.prompt.clean.join(''),
      cell: (r) => tokens(r.prompt) },
    { title: 'answer', name: 'answer', numeric: false, key: (r) => r.prompt.answers.join(''),
      cell: (r) => r.prompt.answers.map(bare).join(' / ') },
    { title: 'wrong', name: 'wrong', numeric: false, key: (r) => r.prompt.wrong.join(''),
      cell: (r) => r.prompt.wrong.map(bare).join(' / ') },
  ];
  if (!curve || !circuit) {
    return columns;
  }
  /** @param {string} title @param {import('./data.js').Point} point */
  const measured = (title, point) => columns.push({
    title, name: title, numeric: true, key: (r) => point.prompts?.[r.i] ?? null,
    cell: (r) => signed(point.prompts?.[r.i]),
  });
  measured('all edges', curve.all);
  measured('circuit', circuit);
  measured('no edge', curve.none);
  if (curve.clear) {
    /** @param {PromptRow} r */
    const share = ({ i }) => {
      const [all, some, none] = [curve.all, circuit, curve.none].map((p) => p.prompts?.[i] ?? NaN);
      const range = all - none;
      return Math.abs(range) < LEAST_RANGE * Math.abs(curve.range ?? 0) || Number.isNaN(some - range)
        ? null : (some - none) / range;
    };
    columns.push({ title: 'recovered', name: 'recovered', numeric: true, key: share,
      cell: (r) => percent(share(r)) });
  }
  return columns;
}

/**
 * @param {import('./data.js').Prompt} prompt
 * @returns {HTMLElement} its tokens, those marked that differ from the corrupt prompt
 */
function tokens(prompt) {
  return h('span', { class: 'tokens' }, ...prompt.clean.map((token, i) => {
    const other = prompt.corrupt[i];
    return other === undefined || other === token ? h('span', {}, bare(token))
      : h('mark', { 'data-tip': `corrupt: ${other}` }, bare(token));
  }));
}

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
export function factsView(page) {
  return h('section', { class: 'card', id: 'facts', 'aria-label': 'About this run' },
    h('h2', {}, 'About this run'),
    factList(page.data.facts),
    h('p', { class: 'note' }, `Scores: ${page.method.name}. `
      + `Greatest: ${number(page.method.scores[page.method.order[0]])}`
      + `${page.method.unit === 'none' ? '' : ` ${page.method.unit}`}.`));
}

/**
 * @param {[string, string][]} facts
 * @returns {HTMLElement}
 */
export function factList(facts) {
  return h('dl', { class: 'facts wide' }, ...facts.flatMap(([name, text]) =>
    [h('dt', {}, name), h('dd', {}, text)]));
}
