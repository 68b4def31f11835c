import { edgeName } from './data.js';
import { curve, layOut, LINE, portsOf, portY } from './layout.js';
import { count, counted, h, number, signed } from './text.js';
import { describeUnit, pairsOf } from './units.js';

/**
 * Draws the circuit as a graph of layers.
 *
 * @typedef {import('./data.js').Data} Data
 * @typedef {import('./units.js').Pair} Pair
 * @typedef {import('./state.js').State} State
 */

/** More curves than these nobody tells apart, and browsers take long. */
const MOST_CURVES = 2000;
/** All nodes of larger graphs are not drawn. */
export const MOST_NODES = 1200;
const THINNEST = 1;
const WIDEST = 8;

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
export function graphView(page) {
  const { data, units, store } = page;
  const note = h('p', { class: 'note', 'aria-live': 'polite' });
  const scroller = h('div', {
    class: 'canvas', tabindex: '0', role: 'region', 'aria-label': 'Picture of the circuit',
  });
  const svg = d3.select(scroller).append('svg').attr('id', 'graph')
    .attr('role', 'group')
    .attr('aria-label', 'The circuit: blocks from left to right, heads as rows. Arrow keys move'
      + ' from node to node, Enter chooses one.');
  const bandLayer = svg.append('g').attr('aria-hidden', 'true');
  const edgeLayer = svg.append('g').attr('aria-hidden', 'true');
  const tieLayer = svg.append('g').attr('aria-hidden', 'true');
  const nodeLayer = svg.append('g');

  /** @type {import('./layout.js').Layout} */
  let layout;
  /** @type {Pair[]} */
  let pairs = [];
  /** The unit that the Tab key reaches. */
  let current = -1;

  /** @param {State} state */
  function draw(state) {
    const chosen = page.circuit(state);
    pairs = pairsOf(data, units, chosen, page.look(state));
    const dead = pairs.filter((pair) => !pair.live).length;
    const drawn = pairs.slice(0, MOST_CURVES);
    const touched = new Set(drawn.flatMap((pair) => [pair.from, pair.to]));
    for (const name of ['Resid Start', 'Resid End', state.node]) {
      const unit = units.byName.get(name);
      if (unit !== undefined) {
        touched.add(unit);
      }
    }
    const all = state.all && units.units.length <= MOST_NODES;
    const shown = all ? units.units.map((_, u) => u) : [...touched];
    layout = layOut(units.units, shown, scroller.clientWidth || 800);
    svg.attr('viewBox', `0 0 ${layout.width} ${layout.height}`)
      .attr('width', layout.width * state.zoom).attr('height', layout.height * state.zoom);
    drawBands();
    drawEdges(drawn);
    drawTies(shown);
    drawNodes(shown, touched);
    mark(state);
    page.live?.mark(svg);
    const left = pairs.length - drawn.length;
    note.textContent = `${counted(chosen.length, 'edge')}`
      + (data.positions ? ` between ${counted(pairs.length, 'pair')} of nodes` : '')
      + (dead && !data.positions ? `, ${dead === pairs.length ? 'all' : count(dead)} of them on no path from input to output`
        + ' (drawn faint)' : '')
      + (left > 0 ? `; the ${MOST_CURVES} strongest are drawn` : '') + '.';
  }

  function drawBands() {
    const bands = bandLayer.selectAll('g').data(layout.bands, (d) => /** @type {any} */ (d).block)
      .join((enter) => {
        const g = enter.append('g').attr('class', 'band');
        g.append('rect').attr('rx', 6);
        g.append('text').on('click', (_, d) => page.live?.block(/** @type {any} */ (d).block));
        return g;
      });
    bands.select('rect').attr('x', (d) => d.from - 5).attr('y', 4)
      .attr('width', (d) => d.to - d.from + 10).attr('height', layout.height - 8);
    bands.select('text').attr('x', (d) => d.from + 1).attr('y', 20)
      .text((d) => `block ${d.block}`);
  }

  /** @param {Pair[]} drawn */
  function drawEdges(drawn) {
    const weakestFirst = [...drawn].reverse();
    const edges = edgeLayer.selectAll('g').data(weakestFirst, (d) => {
      const pair = /** @type {Pair} */ (d);
      return `${pair.src} ${pair.dest}`;
    }).join((enter) => {
      const g = enter.append('g');
      g.append('path').attr('class', 'line');
      g.append('path').attr('class', 'hit')
        .on('click', (event, d) => {
          event.stopPropagation();
          store.set({ edge: /** @type {Pair} */ (d).edges[0], node: '' });
          page.live?.edge(/** @type {Pair} */ (d).edges[0]);
        });
      return g;
    }).order();
    edges.attr('class', (d) => `edge ${d.kind}${d.live ? '' : ' dead'}`)
      .attr('data-edge', (d) => d.edges[0]);
    edges.each(function (d) {
      const port = /\.([QKV])$/.exec(data.dests[d.dest].name)?.[1] ?? '';
      const path = curve(layout, units.units, d, port);
      d3.select(this).select('.line').attr('d', path)
        .attr('stroke-width', (THINNEST + (WIDEST - THINNEST) * d.share).toFixed(2));
      d3.select(this).select('.hit').attr('d', path)
        .attr('data-tip', `${edgeName(data, d.edges[0])}: ${signed(d.score)}`
          + (d.edges.length > 1 ? ` (the strongest of ${d.edges.length} positions)` : ''));
    });
  }

  /** @param {number[]} shown lines from shared keys to those that read them */
  function drawTies(shown) {
    const here = new Set(shown);
    const ties = [];
    for (const u of shown) {
      const unit = units.units[u];
      let above = layout.boxes.get(u);
      for (let i = 0; unit.kind === 'kv' && i < unit.readers; i++) {
        const head = units.byName.get(`${unit.name.split(' ')[0]}.${unit.slot + 0.5 + i}`);
        const below = head !== undefined && here.has(head) ? layout.boxes.get(head) : undefined;
        if (above && below) {
          ties.push({ x: above.x + above.width / 2, from: above.y + above.height, to: below.y });
          above = below;
        }
      }
    }
    tieLayer.selectAll('line').data(ties).join('line').attr('class', 'tie')
      .attr('x1', (d) => d.x).attr('x2', (d) => d.x)
      .attr('y1', (d) => d.from).attr('y2', (d) => d.to);
  }

  /**
   * @param {number[]} shown
   * @param {Set<number>} touched
   */
  function drawNodes(shown, touched) {
    if (!shown.includes(current)) {
      current = shown.includes(units.byName.get('Resid Start') ?? -1)
        ? /** @type {number} */ (units.byName.get('Resid Start')) : shown[0];
    }
    const nodes = nodeLayer.selectAll('g.node')
      .data(shown, (u) => /** @type {number} */ (u))
      .join((enter) => {
        const g = enter.append('g').attr('role', 'button')
          .on('click', (_, u) => choose(/** @type {number} */ (u)))
          .on('keydown', (event, u) => key(event, /** @type {number} */ (u)))
          .on('pointerenter focus', (_, u) => hover(/** @type {number} */ (u)))
          .on('pointerleave blur', () => hover(-1));
        g.append('rect').attr('rx', 5);
        g.each(function (u) { label(d3.select(this), u); });
        return g;
      });
    nodes.attr('class', (u) => `node ${units.units[u].kind}${touched.has(u) ? '' : ' idle'}`)
      .attr('data-name', (u) => units.units[u].name)
      .attr('data-tip', (u) => {
        const into = number(page.sums.in[u]);
        const out = number(page.sums.out[u]);
        return `${units.units[u].name}, ${describeUnit(units.units[u])}. Absolute scores in all:`
          + ` in ${into}, out ${out}`;
      })
      .attr('aria-label', (u) => `${units.units[u].name}, ${describeUnit(units.units[u])}`)
      .attr('tabindex', (u) => (u === current ? 0 : -1))
      .attr('transform', (u) => {
        const box = /** @type {import('./layout.js').Box} */ (layout.boxes.get(u));
        return `translate(${box.x},${box.y})`;
      });
    nodes.select('rect').attr('width', (u) => box(u).width).attr('height', (u) => box(u).height);
  }

  /** @param {number} u */
  function box(u) {
    return /** @type {import('./layout.js').Box} */ (layout.boxes.get(u));
  }

  /**
   * @param {any} g
   * @param {number} u
   */
  function label(g, u) {
    const unit = units.units[u];
    const ports = portsOf(unit);
    const { height, width } = box(u);
    const small = ports.length > 1;
    unit.lines.forEach((line, i) => {
      g.append('text').attr('class', 'name').attr('text-anchor', 'middle')
        .attr('x', small ? width / 2 + 6 : width / 2)
        .attr('y', height / 2 + 4 + (i - (unit.lines.length - 1) / 2) * LINE).text(line);
    });
    if (small) {
      ports.forEach((port) => {
        g.append('text').attr('class', 'port').attr('x', 4)
          .attr('y', portY({ x: 0, y: 0, width, height }, port, ports) + 4).text(port);
      });
    }
  }

  /** @param {number} u */
  function choose(u) {
    const name = units.units[u].name;
    store.set({ node: store.state.node === name && !page.live ? '' : name, edge: -1 });
    page.live?.unit(u);
  }

  /**
   * @param {KeyboardEvent} event
   * @param {number} u
   */
  function key(event, u) {
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      choose(u);
      return;
    }
    const there = neighbour(u, event.key);
    if (there >= 0) {
      event.preventDefault();
      focusOn(there);
    }
  }

  /**
   * @param {number} u
   * @param {string} keyName
   * @returns {number} the nearest unit in the direction of an arrow, -1 for none
   */
  function neighbour(u, keyName) {
    const here = box(u);
    /** @type {Record<string, [number, number]>} */
    const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    const way = ways[keyName];
    let best = -1;
    let least = Infinity;
    for (const [other, at] of way ? layout.boxes : []) {
      const dx = at.x - here.x;
      const dy = at.y + at.height / 2 - here.y - here.height / 2;
      const along = way[0] * dx + way[1] * dy;
      const across = Math.abs(way[0] ? dy : dx);
      const far = along + 3 * across;
      if (other !== u && along > 4 && far < least) {
        best = other;
        least = far;
      }
    }
    return best;
  }

  /** @param {number} u */
  function focusOn(u) {
    current = u;
    nodeLayer.selectAll('g.node').attr('tabindex', (d) => (d === u ? 0 : -1))
      .filter((d) => d === u).each(function () { /** @type {SVGElement} */ (this).focus(); });
  }

  /** @param {number} u whose edges are to stand out, -1 for those of what is chosen */
  function hover(u) {
    if (u < 0) {
      mark(store.state);
    } else {
      light((pair) => pair.from === u || pair.to === u);
    }
  }

  /** @param {State} state */
  function mark(state) {
    const unit = units.byName.get(state.node) ?? -1;
    if (unit >= 0) {
      light((pair) => pair.from === unit || pair.to === unit);
    } else if (state.edge >= 0 && pairs.some((pair) => pair.edges.includes(state.edge))) {
      light((pair) => pair.edges.includes(state.edge));
    } else {
      light(null);
    }
    nodeLayer.selectAll('g.node').classed('chosen', (u) => u === unit)
      .attr('aria-pressed', (u) => u === unit);
  }

  /** @param {((pair: Pair) => boolean)|null} test */
  function light(test) {
    svg.classed('dim', test !== null);
    const ends = new Set(test ? pairs.filter(test).flatMap((pair) => [pair.from, pair.to]) : []);
    edgeLayer.selectAll('g.edge').classed('on', (d) => !!test && test(/** @type {Pair} */ (d)));
    nodeLayer.selectAll('g.node').classed('on', (u) => ends.has(/** @type {number} */ (u)));
  }

  svg.on('click', (event) => {
    if (event.target === svg.node()) {
      store.set({ node: '', edge: -1 });
    }
  });
  let width = 0;
  new ResizeObserver(() => {
    if (scroller.clientWidth !== width) {
      width = scroller.clientWidth;
      draw(store.state);
    }
  }).observe(scroller);
  store.subscribe((state, changed) => {
    const redraw = ['size', 'all', 'positive', 'negative', 'position', 'zoom', 'other'];
    if (redraw.some((name) => changed.has(name))) {
      draw(state);
    } else if (changed.has('node') || changed.has('edge')) {
      if (state.node && !nodeLayer.selectAll('g.node').data().includes(units.byName.get(state.node))) {
        draw(state);
      }
      mark(state);
    }
    if (changed.has('node') && state.node) {
      nodeLayer.selectAll('g.node').filter((u) => units.units[/** @type {number} */ (u)].name
        === state.node).each(function () {
        const at = /** @type {SVGElement} */ (this).getBoundingClientRect();
        const view = scroller.getBoundingClientRect();
        if (at.left < view.left || at.right > view.right) {
          scroller.scrollLeft += at.left - view.left - view.width / 2;
        }
        if (at.top < view.top || at.bottom > view.bottom) {
          scroller.scrollTop += at.top - view.top - view.height / 2;
        }
      });
    }
  });
  return h('div', { class: 'picture' }, scroller, note);
}
