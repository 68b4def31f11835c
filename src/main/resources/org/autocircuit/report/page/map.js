import { bytes } from './data.js';
import { glossary, installTips, term } from './glossary.js';
import { moveByKeys, shade } from './heat.js';
import { Store } from './state.js';
import { factList } from './tables.js';
import { bare, h, number, percent, plain } from './text.js';
import { themeButton } from './theme.js';

/**
 * Puts together the page of activation patching, and reads what Java wrote into it
 * (PatchMapPage.java).
 *
 * @typedef {{site: string, direction: string, metric: string, prompts: number, clean: number,
 *   corrupt: number, error: number|null, clear: boolean, eachPosition: boolean, rows: string[],
 *   columns: number, shares: Float32Array, errors: Float32Array}} PatchMap shares and their standard
 *   errors by row and column
 * @typedef {{site: string, direction: string, words: number, row: number, column: number,
 *   theme: string}} MapState the cell that is chosen, -1 for none
 * @typedef {{name: string, row: number, column: number}} Cell
 */

/** Numbers stand in the cells of maps with so few columns. */
const NUMBERED = 30;
const STRONGEST = 10;

const raw = JSON.parse(document.getElementById('data')?.textContent ?? '');
/** @type {PatchMap[]} */
const maps = raw.maps.map((/** @type {any} */ map) => ({
  ...map,
  shares: new Float32Array(bytes(map.shares)),
  errors: new Float32Array(bytes(map.errors)),
}));
/** @type {import('./data.js').Prompt[]} */
const prompts = raw.prompts;

/** @type {Store<MapState>} */
const store = new Store({
  site: maps[0].site, direction: maps[0].direction, words: 0, row: -1, column: -1, theme: 'auto',
}, (state) => {
  const known = shown(state);
  /** @param {number} x @param {number} low @param {number} high */
  const within = (x, low, high) => Math.min(Math.max(Math.round(x), low), high);
  return {
    site: known.site,
    direction: known.direction,
    words: within(state.words, 0, Math.max(prompts.length - 1, 0)),
    row: within(state.row, -1, known.rows.length - 1),
    column: within(state.column, -1, known.columns - 1),
    theme: ['auto', 'light', 'dark'].includes(state.theme) ? state.theme : 'auto',
  };
});

/**
 * @param {MapState} state
 * @returns {PatchMap} the map of that kind and direction, or else one of either, or else the first
 */
function shown(state) {
  return maps.find((map) => map.site === state.site && map.direction === state.direction)
    ?? maps.find((map) => map.site === state.site)
    ?? maps.find((map) => map.direction === state.direction) ?? maps[0];
}

/**
 * @param {PatchMap} map
 * @param {number} column
 * @returns {string}
 */
function word(map, column) {
  return map.eachPosition ? plain(prompts[store.state.words]?.clean[column] ?? String(column)) : 'all';
}

/**
 * @param {PatchMap} map
 * @param {Cell} cell
 * @returns {string}
 */
function place(map, { name, column }) {
  return map.eachPosition ? `${name} at ${column} ${word(map, column)}` : `${name}, all positions`;
}

/**
 * @param {PatchMap} map
 * @param {Cell} cell
 * @returns {string} with its standard error, where that is known
 */
function share(map, { row, column }) {
  const i = row * map.columns + column;
  const error = map.errors[i];
  return `${percent(map.shares[i])}${Number.isFinite(error) ? ` ± ${percent(error)}` : ''}`;
}

/**
 * @param {PatchMap} map
 * @returns {{rows: string[], columns: (Node|string)[], cells: (Cell|undefined)[][]}} heads of all
 *     positions together stand block by head
 */
function layOut(map) {
  const heads = map.rows.map((name) => /^A(\d+)\.(\d+)$/.exec(name));
  if (!map.eachPosition && heads.every((found) => found)) {
    /** @type {(Cell|undefined)[][]} */
    const cells = [];
    heads.forEach((found, row) => {
      const [block, head] = [Number(found?.[1]), Number(found?.[2])];
      (cells[block] ??= [])[head] = { name: map.rows[row], row, column: 0 };
    });
    return {
      rows: cells.map((_, block) => `block ${block}`),
      columns: cells[0].map((_, head) => `head ${head}`),
      cells,
    };
  }
  const columns = d3.range(map.columns);
  const prompt = prompts[store.state.words];
  return {
    rows: map.rows,
    columns: columns.map((column) => {
      const other = prompt?.corrupt[column];
      return map.eachPosition && other !== undefined && other !== prompt.clean[column]
        ? h('mark', { 'data-tip': `corrupt: ${other}`, tabindex: 0 }, word(map, column))
        : word(map, column);
    }),
    cells: map.rows.map((name, row) => columns.map((column) => ({ name, row, column }))),
  };
}

/** @returns {HTMLElement} */
function mapView() {
  const table = h('table', { class: 'heat map', role: 'grid', 'aria-label': 'Map of activations' });
  const draw = () => {
    const map = shown(store.state);
    const { rows, columns, cells } = layOut(map);
    const greatest = Math.max(...map.shares.map(Math.abs)) || 1;
    const dense = columns.length > NUMBERED;
    table.classList.toggle('dense', dense);
    table.replaceChildren(
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, map.eachPosition ? 'put in' : ''),
        ...columns.map((text) => h('th', { scope: 'col' }, text)))),
      h('tbody', {}, ...rows.map((name, r) => h('tr', {}, h('th', { scope: 'row' }, name),
        ...cells[r].map((cell) => {
          if (!cell) {
            return h('td', {});
          }
          const value = map.shares[cell.row * map.columns + cell.column];
          const text = `${place(map, cell)}: ${share(map, cell)}`;
          const td = h('td', {
            class: 'cell', tabindex: -1, 'data-row': cell.row, 'data-column': cell.column,
            'data-tip': text, 'aria-label': text,
            onclick: () => store.set({ row: cell.row, column: cell.column }),
          }, dense ? '' : String(Math.round(100 * value) || 0).replace('-', '−'));
          shade(td, Math.abs(value) / greatest, value < 0 ? '--negative' : '--positive');
          return td;
        })))));
    table.querySelector('.cell')?.setAttribute('tabindex', '0');
  };
  moveByKeys(table);
  store.subscribe((state, changed) => {
    if (['site', 'direction', 'words', 'theme'].some((name) => changed.has(name))) {
      draw();
    }
    table.querySelectorAll('.cell').forEach((cell) => cell.classList.toggle('chosen',
      cell.getAttribute('data-row') === String(state.row)
      && cell.getAttribute('data-column') === String(state.column)));
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  return h('div', { class: 'scroll card', tabindex: '0', role: 'region', 'aria-label': 'Map' }, table);
}

/** @returns {HTMLElement} */
function controls() {
  /**
   * @param {'site'|'direction'|'words'} name
   * @param {string} label
   * @param {[string|number, string][]} options
   */
  const choice = (name, label, options) => {
    const select = /** @type {HTMLSelectElement} */ (h('select', {
      id: name,
      onchange: () => store.set(name === 'words' ? { words: Number(select.value) }
        : { [name]: select.value, row: -1, column: -1 }),
    }, ...options.map(([value, text]) => h('option', { value }, text))));
    store.subscribe((state) => { select.value = String(state[name]); });
    return options.length > 1 ? h('label', {}, `${label} `, select) : null;
  };
  /** @param {'site'|'direction'} name @returns {[string, string][]} */
  const kinds = (name) => [...new Set(maps.map((map) => map[name]))].map((kind) => [kind, kind]);
  return h('div', { class: 'controls', role: 'group', 'aria-label': 'What is shown' },
    choice('site', 'put in:', kinds('site')), choice('direction', 'direction:', kinds('direction')),
    maps[0].eachPosition ? choice('words', 'words of', prompts.map((prompt, i) =>
      [i, `prompt ${i + 1}: ${prompt.clean.map(bare).join('')}`])) : null);
}

/** @returns {HTMLElement} */
function about() {
  const text = h('div', { class: 'meaning' });
  store.subscribe((state, changed) => {
    if (!changed.has('site') && !changed.has('direction')) {
      return;
    }
    const map = shown(state);
    const restores = map.direction === 'denoising';
    text.replaceChildren(
      h('p', {}, restores ? term('denoising', 'Denoising') : term('noising', 'Noising'),
        `, in per cent: how much of the way in the ${map.metric} between the `, term('clean prompt'),
        ` (${number(map.clean)}) and the `, term('corrupt prompt'), ` (${number(map.corrupt)}) the ${
          restores ? 'clean' : 'corrupt'} activation alone ${restores ? 'brings back' : 'takes away'}.`
        + ` Put in: ${map.site}. Means over ${map.prompts} prompt${map.prompts === 1 ? '' : 's'}. Orange`
        + ` is towards the ${restores ? 'clean' : 'corrupt'} prompt, blue away from it.`),
      map.clear ? '' : h('p', { class: 'warning' }, 'Clean and corrupt prompts differ by '
        + `${number(map.clean - map.corrupt)}, with a standard error of ${number(map.error)}: shares of`
        + ' so small a difference mean little.'));
  });
  return text;
}

/** @returns {HTMLElement} */
function panel() {
  const place = h('section', { class: 'panel', id: 'panel', 'aria-live': 'polite',
    'aria-label': 'What is chosen' });
  store.subscribe((state) => {
    const map = shown(state);
    const { row, column } = state;
    place.replaceChildren(...(row >= 0 && column >= 0
      ? ofCell(map, { name: map.rows[row], row, column }) : strongest(map)));
  });
  return place;
}

/**
 * @param {PatchMap} map
 * @param {Cell} cell
 * @returns {HTMLElement[]}
 */
function ofCell(map, cell) {
  const value = map.shares[cell.row * map.columns + cell.column];
  const [from, to] = map.direction === 'denoising' ? [map.corrupt, map.clean]
    : [map.clean, map.corrupt];
  const others = maps.filter((other) => other !== map && other.site === map.site);
  return [
    h('div', { class: 'heading' }, h('h2', {}, place(map, cell)), h('button', {
      class: 'close', type: 'button', 'aria-label': 'Choose nothing',
      onclick: () => store.set({ row: -1, column: -1 }),
    }, '×')),
    h('dl', { class: 'facts' },
      h('dt', {}, map.direction === 'denoising' ? 'brings back' : 'takes away'),
      h('dd', {}, share(map, cell)),
      h('dt', {}, `${map.metric} then`), h('dd', {}, number(from + value * (to - from))),
      ...others.flatMap((other) => [h('dt', {}, `by ${other.direction}`),
        h('dd', {}, share(other, cell))])),
  ];
}

/**
 * @param {PatchMap} map
 * @returns {HTMLElement[]}
 */
function strongest(map) {
  const order = [...map.shares.keys()].filter((i) => Number.isFinite(map.shares[i]))
    .sort((a, b) => Math.abs(map.shares[b]) - Math.abs(map.shares[a])).slice(0, STRONGEST);
  const greatest = Math.abs(map.shares[order[0]]) || 1;
  return [
    h('h2', {}, 'Strongest places'),
    h('ol', { class: 'bars' }, ...order.map((i) => {
      const row = Math.floor(i / map.columns);
      const cell = { name: map.rows[row], row, column: i % map.columns };
      const bar = h('span', { class: `bar ${map.shares[i] < 0 ? 'negative' : 'positive'}` });
      bar.style.width = `${(100 * Math.abs(map.shares[i])) / greatest}%`;
      return h('li', {}, h('button', {
        class: 'row', type: 'button', onclick: () => store.set({ row, column: cell.column }),
      }, h('span', { class: 'name' }, place(map, cell)), h('span', { class: 'n' },
        percent(map.shares[i])), bar));
    })),
    h('p', { class: 'note' }, 'Choose a cell to see more of it; arrow keys move between cells.'),
  ];
}

const root = /** @type {HTMLElement} */ (document.getElementById('page'));
/** @param {string} name */
const fact = (name) => raw.facts.find((/** @type {[string, string]} */ [of]) => of === name)?.[1];
root.replaceChildren(
  h('header', {}, h('div', {}, h('h1', {}, raw.title),
    h('p', { class: 'note' }, [fact('model'), fact('prompts')].filter(Boolean).join(' · '))),
  themeButton(store)),
  h('main', {}, controls(), about(), h('div', { class: 'explore' }, mapView(), panel()),
    h('section', { class: 'card', id: 'facts', 'aria-label': 'About this run' },
      h('h2', {}, 'About this run'), factList(raw.facts)),
    h('section', { class: 'card', 'aria-label': 'Glossary' }, h('details', {},
      h('summary', {}, 'Glossary'), glossary()))));
installTips(root);
