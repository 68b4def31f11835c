import { term } from './glossary.js';
import { h, number } from './text.js';

/** Shows sums of absolute scores by head and block. */

/** Numbers are written into cells of maps with so few columns. */
const NUMBERED = 16;

/**
 * @param {HTMLElement} cell
 * @param {number} share of the greatest value, which its colour shows
 * @param {string} [high] the property with the colour of the greatest value
 */
export function shade(cell, share, high = '--heat-high') {
  const style = getComputedStyle(document.documentElement);
  const colour = d3.rgb(d3.interpolateLab(style.getPropertyValue('--heat-low').trim(),
    style.getPropertyValue(high).trim())(Math.min(1, share) || 0));
  cell.style.backgroundColor = colour.toString();
  cell.style.color = light(colour) > 0.18 ? '#000' : '#fff';
}

/**
 * @param {d3.RGBColor} colour
 * @returns {number} its relative luminance, 0 to 1: at 0.18 black and white stand out alike
 */
function light(colour) {
  const [r, g, b] = [colour.r, colour.g, colour.b].map((x) => (x / 255 <= 0.04045
    ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/**
 * Lets arrow keys move from cell to cell of a table, of which one has the tab index 0, and Enter or
 * the space bar click one.
 *
 * @param {HTMLElement} table
 */
export function moveByKeys(table) {
  table.addEventListener('keydown', (event) => {
    const here = document.activeElement;
    if (!(here instanceof HTMLTableCellElement)) {
      return;
    }
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      here.click();
      return;
    }
    /** @type {Record<string, [number, number]>} */
    const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    const [dx, dy] = ways[event.key] ?? [0, 0];
    let row = /** @type {HTMLTableRowElement|null} */ (here.parentElement);
    /** @type {Element|null|undefined} */
    let there = null;
    do {
      row = /** @type {any} */ (dy > 0 ? row?.nextElementSibling
        : dy < 0 ? row?.previousElementSibling : row);
      there = row?.cells[here.cellIndex + dx];
    } while (dy && row && !there?.classList.contains('cell'));
    if ((dx || dy) && there instanceof HTMLElement && there.classList.contains('cell')) {
      event.preventDefault();
      here.tabIndex = -1;
      there.tabIndex = 0;
      there.focus();
    }
  });
}

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement|null}
 */
export function heatView(page) {
  const { units, store, sums } = page;
  const heads = units.units.map((unit, u) => ({ unit, u })).filter(({ unit }) => unit.kind === 'head');
  if (!heads.length) {
    return null;
  }
  const blocks = d3.range(Math.max(...heads.map(({ unit }) => unit.block)) + 1);
  const rows = d3.range(Math.max(...heads.map(({ unit }) => unit.slot)) + 1);
  const at = new Map(heads.map(({ unit, u }) => [`${unit.block} ${unit.slot}`, u]));
  const table = h('table', { class: `heat${blocks.length > NUMBERED ? ' dense' : ''}`, role: 'grid',
    'aria-label': 'Heads by block' });
  const select = /** @type {HTMLSelectElement} */ (h('select', {
    id: 'heat', 'aria-label': 'Scores to add up',
    onchange: () => store.set({ heat: select.value }),
  }, ...[['both', 'into and out of it'], ['in', 'into it'], ['out', 'out of it']].map(
    ([value, text]) => h('option', { value }, text))));

  function draw() {
    const of = store.state.heat;
    select.value = of;
    /** @param {number|undefined} u */
    const value = (u) => (u === undefined ? NaN
      : (of === 'out' ? 0 : sums.in[u]) + (of === 'in' ? 0 : sums.out[u]));
    const greatest = Math.max(...heads.map(({ u }) => value(u))) || 1;
    /** @param {number|undefined} u @param {string} name */
    const cell = (u, name) => {
      const x = value(u);
      if (u === undefined) {
        return h('td', {});
      }
      const td = h('td', {
        class: 'cell', tabindex: -1, 'data-name': name,
        'aria-label': `${name}: ${number(x)}`, 'data-tip': `${name}: ${number(x)}`,
        onclick: () => store.set({ node: name, edge: -1 }),
      }, blocks.length > NUMBERED ? '' : number(x));
      shade(td, x / greatest);
      return td;
    };
    const mlps = blocks.map((b) => units.byName.get(`MLP ${b}`));
    table.replaceChildren(
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'head'),
        ...blocks.map((b) => h('th', { scope: 'col' }, b)))),
      h('tbody', {}, ...rows.map((r) => h('tr', {}, h('th', { scope: 'row' }, r),
        ...blocks.map((b) => {
          const u = at.get(`${b} ${r}`);
          return cell(u, u === undefined ? '' : units.units[u].name);
        }))),
      h('tr', { class: 'total' }, h('th', { scope: 'row' }, 'heads in all'),
        ...blocks.map((b) => h('td', {}, number(d3.sum(rows, (r) => value(at.get(`${b} ${r}`))))))),
      mlps.some((u) => u !== undefined) ? h('tr', {}, h('th', { scope: 'row' }, 'MLP'),
        ...mlps.map((u, b) => cell(u, `MLP ${b}`))) : null));
    table.querySelector('.cell')?.setAttribute('tabindex', '0');
  }
  moveByKeys(table);
  store.subscribe((state, changed) => {
    if (changed.has('heat') || changed.has('theme')) {
      draw();
    }
    if (changed.has('node') || changed.has('heat') || changed.has('theme')) {
      table.querySelectorAll('.cell').forEach((cell) => cell.classList.toggle('chosen',
        cell.getAttribute('data-name') === state.node));
    }
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  const strongest = heads.map(({ unit, u }) => ({ unit, total: sums.in[u] + sums.out[u] }))
    .sort((a, b) => b.total - a.total).slice(0, 6);
  return h('section', { class: 'card', 'aria-label': 'Heads' },
    h('h2', {}, 'Heads by block'),
    h('p', {}, 'Sums of the absolute ', term('score', 'scores'), ' of all edges ', select,
      '.'),
    h('p', { class: 'links' }, 'Strongest: ', ...strongest.map(({ unit }) => h('button', {
      class: 'link', type: 'button', onclick: () => store.set({ node: unit.name, edge: -1 }),
    }, unit.name))),
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Map of the heads' },
      table));
}
