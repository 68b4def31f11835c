import { term } from './glossary.js';
import { count, counted, h, number, percent } from './text.js';

/** Shows what circuits of several sizes recover, beside yardsticks, and the areas under it. */

const WIDTH = 560;
const HEIGHT = 280;
const LEFT = 58;
const RIGHT = 16;
const TOP = 26;
const BOTTOM = 44;

/** @typedef {import('./data.js').Curve} Curve */
/** @typedef {import('./data.js').Point} Point */

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement|null}
 */
export function recoveryView(page) {
  const { data: { curves }, store } = page;
  if (!curves.length) {
    return null;
  }
  const place = h('div');
  /** @type {(size: number) => void} */
  let mark = () => {};
  store.subscribe((state, changed) => {
    if (changed.has('curve') || changed.has('scale')) {
      const { chart, markSize } = draw(page, curves[state.curve], state.scale === 'linear');
      mark = markSize;
      place.replaceChildren(...about(page, curves[state.curve]),
        h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Curve' }, chart),
        ...legend(page, curves[state.curve]),
        h('details', {}, h('summary', {}, 'The same as a table'), table(page, curves[state.curve])));
    }
    mark(state.size);
  });
  return h('section', { class: 'card', id: 'curves', 'aria-label': 'What circuits recover' },
    h('h2', {}, 'What circuits recover'), switches(page), place,
    curves.length > 1 ? sideBySide(page) : null);
}

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
function switches({ data: { curves }, store }) {
  /** @param {'curve'|'scale'} name @param {string} label @param {[number|string, string][]} options */
  const choice = (name, label, options) => {
    const select = /** @type {HTMLSelectElement} */ (h('select', {
      id: name,
      onchange: () => store.set({ [name]: name === 'curve' ? Number(select.value) : select.value }),
    }, ...options.map(([value, text]) => h('option', { value }, text))));
    store.subscribe((state) => { select.value = String(state[name]); });
    return h('label', {}, `${label} `, select);
  };
  return h('div', { class: 'switches' },
    curves.length > 1 ? choice('curve', 'patched with', curves.map((curve, i) => [i, curve.name]))
      : null,
    choice('scale', 'sizes', [['log', 'logarithmic'], ['linear', 'linear']]));
}

/**
 * @param {import('./main.js').Page} page
 * @param {Curve} curve
 * @returns {(HTMLElement|string)[]}
 */
function about({ data: { smallest } }, curve) {
  const metric = curve.metric === 'logit difference' ? term('logit difference') : curve.metric;
  if (!curve.clear) {
    return [h('p', { class: 'warning' }, `All edges and none differ by ${number(curve.range)} in the `,
      metric, `, with a standard error of ${number(curve.error)}: shares of so small a difference mean`
      + ' nothing and are left out. Do clean and corrupt change places in some pairs?')];
  }
  return [h('p', {}, 'How much of the ', metric, ' is ', term('recovered'),
    ' by circuits of the best edges.',
    smallest ? ' The diamond is the smallest circuit that was found to recover '
      + `${Math.round(100 * smallest.share)} % on the prompts it was found with.` : ''),
  ...(curve.cpr === null ? [] : [h('p', { class: 'areas' },
    h('span', { class: 'swatch cpr' }), term('CPR'), ` ${number(curve.cpr)}`,
    h('span', { class: 'swatch cmd' }), term('CMD'), ` ${number(curve.cmd)}`)]),
  ...(curve.conditions ? [h('p', { class: 'note' }, `${curve.conditions}.`)] : [])];
}

/**
 * @param {import('./main.js').Page} page
 * @param {Curve} curve
 * @param {boolean} linear
 * @returns {{chart: SVGSVGElement, markSize: (size: number) => void}}
 */
function draw({ data, store }, curve, linear) {
  /** @param {Point} point */
  const value = (point) => (curve.clear ? point.recovered : point.metric);
  /** @param {number|null} y */
  const show = (y) => (curve.clear ? percent(y) : number(y));
  /** @param {Point[]} points */
  const known = (points) => points.flatMap((point) => {
    const y = value(point);
    return y === null ? [] : [{ edges: point.edges, y }];
  });
  /** @typedef {{edges: number, y: number}} Place */
  const found = known(curve.found);
  const others = data.curves.filter((other) => other !== curve && curve.clear && other.clear)
    .map((other) => ({ name: other.name, points: known(other.found) }));
  const baselines = curve.baselines.map(({ name, points }) => ({ name, points: known(points) }));
  const all = curve.clear ? 1 : curve.all.metric ?? 0;
  const none = curve.clear ? 0 : curve.none.metric ?? 0;
  const heights = [...found, ...[...others, ...baselines].flatMap(({ points }) => points)]
    .map((point) => point.y).concat(all, none);
  // A few circuits far off would leave no room for the others.
  const [least, most] = curve.clear ? [-1, 2] : [-Infinity, Infinity];
  const x = (linear ? d3.scaleLinear() : d3.scaleSymlog()).domain([0, data.edges])
    .range([LEFT, WIDTH - RIGHT]);
  const y = d3.scaleLinear().domain([Math.max(least, Math.min(...heights)),
    Math.min(most, Math.max(...heights))]).range([HEIGHT - BOTTOM, TOP]).nice().clamp(true);

  const svg = d3.create('svg').attr('viewBox', `0 0 ${WIDTH} ${HEIGHT}`).attr('width', WIDTH)
    .attr('class', 'chart').attr('id', 'recovery')
    .attr('role', 'img').attr('aria-label',
      `What circuits recover by size: ${found.map((point) =>
        `${counted(point.edges, 'edge')} ${show(point.y)}`).join(', ')}`);
  hatch(svg);
  if (curve.cpr !== null) {
    const area = /** @type {d3.Area<Place>} */ (d3.area()).x((point) => x(point.edges))
      .y1((point) => y(point.y));
    svg.append('path').attr('class', 'area cpr').attr('d', area.y0(y(0))(found));
    svg.append('path').attr('class', 'area cmd').attr('d', area.y0(y(1))(found));
  }
  axes(svg, data.edges, x, y, linear, curve.clear ? (tick) => `${Math.round(100 * tick)} %` : number);
  svg.append('line').attr('class', 'model').attr('x1', LEFT).attr('x2', WIDTH - RIGHT)
    .attr('y1', y(all)).attr('y2', y(all));
  svg.append('text').attr('x', LEFT + 6).attr('y', y(all) - 5).text('the whole model');
  const line = d3.line((/** @type {Place} */ point) => x(point.edges), (point) => y(point.y));
  for (const { name, points } of others) {
    svg.append('path').attr('class', 'curve other').attr('d', line(points)).attr('data-tip', name);
  }
  baselines.forEach(({ name, points }, i) => svg.append('path').attr('d', line(points))
    .attr('class', `curve baseline b${i % 3}`).attr('data-tip', name));
  svg.append('path').attr('class', 'curve found').attr('d', line(found));
  const now = svg.append('line').attr('class', 'now').attr('y1', TOP).attr('y2', HEIGHT - BOTTOM);
  svg.append('g').selectAll('circle').data(found).join('circle').attr('class', 'point')
    .attr('cx', (point) => x(point.edges)).attr('cy', (point) => y(point.y)).attr('r', 5)
    .attr('data-tip', (point) => `${counted(point.edges, 'edge')}${
      curve.clear ? ' recover' : ':'} ${show(point.y)}`)
    .on('click', (_, point) => store.set({ size: point.edges }));
  const { smallest } = data;
  if (smallest && smallest.recovered !== null && curve.clear) {
    svg.append('path').attr('class', 'smallest').attr('d', d3.symbol(d3.symbolDiamond, 90)())
      .attr('transform', `translate(${x(smallest.edges)},${y(smallest.recovered)})`)
      .attr('data-tip', `The smallest circuit that recovers ${
        Math.round(100 * smallest.share)} %: ${counted(smallest.edges, 'edge')}`)
      .on('click', () => store.set({ size: smallest.edges }));
  }
  return {
    chart: /** @type {SVGSVGElement} */ (svg.node()),
    markSize: (size) => now.attr('x1', x(size)).attr('x2', x(size)),
  };
}

/** @param {any} svg */
function hatch(svg) {
  svg.append('defs').append('pattern').attr('id', 'hatch').attr('width', 7).attr('height', 7)
    .attr('patternUnits', 'userSpaceOnUse').attr('patternTransform', 'rotate(45)')
    .append('line').attr('class', 'hatch').attr('y2', 7);
}

/**
 * @param {any} svg
 * @param {number} edges
 * @param {any} x
 * @param {any} y
 * @param {boolean} linear
 * @param {(tick: number) => string} name
 */
function axes(svg, edges, x, y, linear, name) {
  const grid = svg.append('g').attr('class', 'axis');
  for (const tick of y.ticks(6)) {
    grid.append('line').attr('x1', LEFT).attr('x2', WIDTH - RIGHT)
      .attr('y1', y(tick)).attr('y2', y(tick)).attr('class', 'grid');
    grid.append('text').attr('x', LEFT - 6).attr('y', y(tick) + 4).attr('text-anchor', 'end')
      .text(name(tick));
  }
  const ticks = linear ? x.ticks(4) : [0, ...d3.range(0, 8).map((power) => 10 ** power)];
  for (const tick of [...ticks.filter((/** @type {number} */ t) => x(edges) - x(t) > 110), edges]) {
    grid.append('text').attr('x', x(tick)).attr('y', HEIGHT - BOTTOM + 18)
      .attr('text-anchor', tick === edges ? 'end' : 'middle').text(count(tick));
  }
  grid.append('text').attr('x', (LEFT + WIDTH - RIGHT) / 2).attr('y', HEIGHT - 6)
    .attr('text-anchor', 'middle').text('edges in the circuit');
}

/**
 * @param {import('./main.js').Page} page
 * @param {Curve} curve
 * @returns {HTMLElement[]}
 */
function legend({ data: { curves } }, curve) {
  /** @param {string} kind @param {Node|string} text */
  const entry = (kind, text) => {
    const sample = d3.create('svg').attr('class', 'key').attr('width', 38).attr('height', 12)
      .attr('aria-hidden', 'true');
    sample.append('line').attr('class', `curve ${kind}`).attr('x2', 38).attr('y1', 6).attr('y2', 6);
    return h('span', {}, /** @type {SVGSVGElement} */ (sample.node()), ' ', text);
  };
  /** @param {string} name */
  const named = (name) => (name === 'random' || name === 'same degrees' || name === 'weight norms'
    ? term(name) : name);
  return [h('div', { class: 'keys' }, entry('found', 'the best edges'),
    ...(curve.clear ? curve.baselines : []).map(({ name }, i) => entry(`baseline b${i % 3}`, named(name))),
    curves.some((other) => other !== curve && curve.clear && other.clear)
      ? entry('other', 'patched with something else') : null)];
}

/**
 * @param {import('./main.js').Page} page
 * @param {Curve} curve
 * @returns {HTMLElement}
 */
function table(page, curve) {
  const baselines = curve.clear ? curve.baselines : [];
  /** @param {Point} point */
  const cells = (point) => [number(point.metric), number(point.error), ...(curve.clear
    ? [percent(point.recovered)] : []), number(point.kl), percent(point.accuracy)].map(
    (text) => h('td', { class: 'n' }, text));
  /** @param {number} edges */
  const beside = (edges) => baselines.map(({ points }) => h('td', { class: 'n' },
    percent(points.find((point) => point.edges === edges)?.recovered)));
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Measures' },
    h('table', {},
      h('thead', {}, h('tr', {}, ...['edges', curve.metric, '± s.e.', ...(curve.clear
        ? ['recovered'] : []), 'KL', 'accuracy', ...baselines.map(({ name }) => name)].map((text) =>
        h('th', { scope: 'col', class: 'n' }, text)))),
      h('tbody', {}, ...curve.found.map((point) => h('tr', {},
        h('th', { scope: 'row', class: 'n' }, h('button', { class: 'link', type: 'button',
          onclick: () => page.store.set({ size: point.edges }) }, count(point.edges))),
        ...cells(point), ...beside(point.edges))),
      ...[curve.all, curve.none].map((point, i) => h('tr', {},
        h('th', { scope: 'row', class: 'n' }, i ? 'no edge' : 'all edges'), ...cells(point),
        ...baselines.map(() => h('td', {})))))));
}

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
function sideBySide({ data: { curves }, store }) {
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Side by side' },
    h('table', { id: 'conditions' },
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'patched with'), ...[term('CPR'),
        term('CMD'), 'all edges', 'no edge'].map((text) => h('th', { scope: 'col', class: 'n' }, text)))),
      h('tbody', {}, ...curves.map((curve, i) => h('tr', {},
        h('th', { scope: 'row' }, h('button', { class: 'link', type: 'button',
          onclick: () => store.set({ curve: i }) }, curve.name)),
        ...[curve.cpr, curve.cmd, curve.all.metric, curve.none.metric].map((x) =>
          h('td', { class: 'n' }, number(x))))))));
}
