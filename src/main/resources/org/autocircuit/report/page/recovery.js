import { term } from './glossary.js';
import { count, counted, h, number, percent } from './text.js';

/** Shows what circuits of several sizes recover, beside random ones. */

const WIDTH = 560;
const HEIGHT = 280;
const LEFT = 58;
const RIGHT = 16;
const TOP = 26;
const BOTTOM = 44;

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement|null}
 */
export function recoveryView(page) {
  const { data, store } = page;
  const { curve } = data;
  if (!curve) {
    return null;
  }
  /** @typedef {{edges: number, y: number}} Point */
  /** @param {'found'|'random'} of @returns {Point[]} */
  const points = (of) => curve.sizes.flatMap((size) => {
    const y = size[of]?.recovered;
    return y === null || y === undefined ? [] : [{ edges: size.edges, y }];
  });
  const found = points('found');
  const random = points('random');
  const heights = [...found, ...random].map((point) => point.y);
  const low = Math.max(-1, Math.min(0, ...heights));
  const high = Math.min(2, Math.max(1, ...heights));
  const x = d3.scaleSymlog().domain([0, data.edges]).range([LEFT, WIDTH - RIGHT]);
  const y = d3.scaleLinear().domain([low, high]).range([HEIGHT - BOTTOM, TOP]).nice().clamp(true);

  const svg = d3.create('svg').attr('viewBox', `0 0 ${WIDTH} ${HEIGHT}`).attr('width', WIDTH)
    .attr('class', 'chart').attr('id', 'recovery')
    .attr('role', 'img').attr('aria-label',
      `What circuits recover by size: ${found.map((point) =>
        `${counted(point.edges, 'edge')} ${percent(point.y)}`).join(', ')}`);
  const grid = svg.append('g').attr('class', 'axis');
  for (const tick of y.ticks(6)) {
    grid.append('line').attr('x1', LEFT).attr('x2', WIDTH - RIGHT)
      .attr('y1', y(tick)).attr('y2', y(tick)).attr('class', tick === 1 ? 'model' : 'grid');
    grid.append('text').attr('x', LEFT - 6).attr('y', y(tick) + 4).attr('text-anchor', 'end')
      .text(`${Math.round(100 * tick)} %`);
  }
  const ticks = [0, ...d3.range(0, 8).map((power) => 10 ** power)
    .filter((tick) => x(data.edges) - x(tick) > 110), data.edges];
  for (const tick of ticks) {
    grid.append('text').attr('x', x(tick)).attr('y', HEIGHT - BOTTOM + 18)
      .attr('text-anchor', tick === data.edges ? 'end' : 'middle').text(count(tick));
  }
  grid.append('text').attr('x', (LEFT + WIDTH - RIGHT) / 2).attr('y', HEIGHT - 6)
    .attr('text-anchor', 'middle').text('edges in the circuit');
  grid.append('text').attr('x', LEFT + 6).attr('y', y(1) - 5).text('the whole model');

  const line = d3.line((/** @type {Point} */ point) => x(point.edges), (point) => y(point.y));
  svg.append('path').attr('class', 'curve random').attr('d', line(random));
  svg.append('path').attr('class', 'curve found').attr('d', line(found));
  const now = svg.append('line').attr('class', 'now').attr('y1', TOP).attr('y2', HEIGHT - BOTTOM);
  svg.append('g').selectAll('circle').data(found).join('circle').attr('class', 'point')
    .attr('cx', (point) => x(point.edges)).attr('cy', (point) => y(point.y)).attr('r', 5)
    .attr('data-tip', (point) => `${counted(point.edges, 'edge')} recover ${percent(point.y)}`)
    .on('click', (_, point) => store.set({ size: point.edges }));
  const { smallest } = data;
  if (smallest && smallest.recovered !== null) {
    svg.append('path').attr('class', 'smallest').attr('d', d3.symbol(d3.symbolDiamond, 90)())
      .attr('transform', `translate(${x(smallest.edges)},${y(smallest.recovered)})`)
      .attr('data-tip', `The smallest circuit that recovers ${
        Math.round(100 * smallest.share)} %: ${counted(smallest.edges, 'edge')}`)
      .on('click', () => store.set({ size: smallest.edges }));
  }
  store.subscribe((state) => now.attr('x1', x(state.size)).attr('x2', x(state.size)));

  return h('section', { class: 'card', 'aria-label': 'What circuits recover' },
    h('h2', {}, 'What circuits recover'),
    h('p', {}, 'How much of the ', term('logit difference'), ' is ', term('recovered'),
      ' by circuits of the best edges (line), and by ', term('random'), ' ones (dashed).',
      smallest ? ' The diamond is the smallest circuit that was found to recover '
        + `${Math.round(100 * smallest.share)} % on the prompts it was found with.` : ''),
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Curve' },
      /** @type {SVGSVGElement} */ (svg.node())),
    h('details', {}, h('summary', {}, 'The same as a table'), table(page, curve)));
}

/**
 * @param {import('./main.js').Page} page
 * @param {import('./data.js').Curve} curve
 * @returns {HTMLElement}
 */
function table(page, curve) {
  /** @param {import('./data.js').Measures} measures */
  const cells = (measures) => [number(measures.difference), percent(measures.recovered),
    number(measures.kl), percent(measures.accuracy)].map((text) => h('td', { class: 'n' }, text));
  const withRandom = curve.sizes.some((size) => size.random);
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Measures' },
    h('table', {},
      h('thead', {}, h('tr', {}, ...[['edges'], ['logit difference'], ['recovered'], ['KL'],
        ['accuracy'], ...(withRandom ? [['recovered at random']] : [])].map(([text]) =>
        h('th', { scope: 'col', class: 'n' }, text)))),
      h('tbody', {}, ...curve.sizes.map((size) => h('tr', {},
        h('th', { scope: 'row', class: 'n' }, h('button', { class: 'link', type: 'button',
          onclick: () => page.store.set({ size: size.edges }) }, count(size.edges))),
        ...cells(size.found),
        withRandom ? h('td', { class: 'n' }, percent(size.random?.recovered)) : null)),
      h('tr', {}, h('th', { scope: 'row', class: 'n' }, 'model'), ...cells(curve.full),
        withRandom ? h('td', {}) : null))));
}
