import { edgeAt, edgeIndex } from './data.js';

/**
 * Joins nodes to units, the boxes of the picture. A head is one unit, whether it is a source, a
 * destination or three of them. Keys and values that several query heads share are a unit of their
 * own.
 *
 * @typedef {import('./data.js').Data} Data
 * @typedef {'head'|'kv'|'other'} Kind
 * @typedef {{name: string, lines: string[], kind: Kind, layer: number, block: number,
 *   slot: number, src: number, ports: Map<string, number>, readers: number}} Unit slot orders the
 *   heads of a block; src is -1 where it writes nothing; ports are destinations by Q, K, V or ''
 * @typedef {{units: Unit[], ofSrc: number[], ofDest: number[], byName: Map<string, number>}} Units
 */

/**
 * @param {Data} data
 * @returns {Units}
 */
export function makeUnits(data) {
  /** @type {Unit[]} */
  const units = [];
  /** @type {Map<string, number>} */
  const byName = new Map();
  /**
   * @param {string} name
   * @param {Kind} kind
   * @param {{layer: number, head: number, block: number}} node
   * @param {number} slot
   * @returns {number}
   */
  const unit = (name, kind, node, slot) => {
    let found = byName.get(name);
    if (found === undefined) {
      found = units.length;
      byName.set(name, found);
      units.push({
        name, lines: lines(name), kind, layer: node.layer, block: node.block, slot,
        src: -1, ports: new Map(), readers: 0,
      });
    }
    units[found].layer = Math.max(units[found].layer, node.layer);
    return found;
  };
  const ofDest = data.dests.map((dest, d) => {
    const port = /\.([QKV])$/.exec(dest.name)?.[1] ?? '';
    const own = port ? dest.name.slice(0, -2) : dest.name;
    let u;
    if (dest.readers) {
      // Half a place above the first head that reads it.
      const name = `${own.split('.')[0]} kv ${dest.head}`;
      u = unit(name, 'kv', dest, dest.firstReader - 0.5);
      units[u].readers = dest.readers;
      units[u].lines = [name, `${dest.firstReader}–${dest.firstReader + dest.readers - 1}`];
    } else {
      u = unit(own, isHead(own) ? 'head' : 'other', dest, dest.head);
    }
    units[u].ports.set(port, d);
    return u;
  });
  const ofSrc = data.srcs.map((src, s) => {
    const u = unit(src.name, isHead(src.name) ? 'head' : 'other', src, src.head);
    units[u].src = s;
    return u;
  });
  return { units, ofSrc, ofDest, byName };
}

/**
 * @param {string} name
 * @returns {boolean}
 */
function isHead(name) {
  return /^[A-Z]\d+\.\d+$/.test(name);
}

/**
 * @param {string} name
 * @returns {string[]} one or two lines for a small box
 */
function lines(name) {
  if (name.length <= 8) {
    return [name];
  }
  const blank = name.lastIndexOf(' ');
  return blank < 0 ? [name] : [name.slice(0, blank).replace(' Latent', ' lat.'), name.slice(blank + 1)];
}

/**
 * @param {Unit} unit
 * @returns {string} words for people who do not know the name
 */
export function describeUnit(unit) {
  if (unit.kind === 'head') {
    return `attention head ${unit.name.split('.')[1]} of block ${unit.block}`;
  }
  if (unit.kind === 'kv') {
    const first = unit.slot + 0.5;
    return `keys and values that heads ${first} to ${first + unit.readers - 1} of block`
      + ` ${unit.block} share`;
  }
  if (unit.name === 'Resid Start') {
    return 'embedding of the tokens, where the residual stream begins';
  }
  if (unit.name === 'Resid End') {
    return 'end of the residual stream, which gives the logits';
  }
  if (!unit.name.startsWith('MLP')) {
    return 'node of the residual stream';
  }
  return `${/^MLP \d+$/.test(unit.name) ? 'MLP' : 'part of the MLP'} of block ${unit.block}`;
}

/**
 * @param {Data} data
 * @param {Unit} unit
 * @returns {number[]} the edges into it, at all positions
 */
export function inputsOf(data, unit) {
  const found = [];
  for (const dest of unit.ports.values()) {
    const module = data.modules[data.dests[dest].module];
    for (let position = 0; position < Math.max(data.positions, 1); position++) {
      const first = edgeIndex(data, module.inStart, dest, position);
      for (let i = 0; i < module.n; i++) {
        found.push(first + i);
      }
    }
  }
  return found;
}

/**
 * @param {Data} data
 * @param {Unit} unit
 * @returns {number[]} the edges from it, at all positions
 */
export function outputsOf(data, unit) {
  const found = [];
  if (unit.src >= 0) {
    for (let dest = 0; dest < data.dests.length; dest++) {
      for (let position = 0; position < Math.max(data.positions, 1); position++) {
        const edge = edgeIndex(data, unit.src, dest, position);
        if (edge >= 0) {
          found.push(edge);
        }
      }
    }
  }
  return found;
}

/**
 * @param {Data} data
 * @param {import('./data.js').Method} method
 * @param {Units} units
 * @returns {{in: Float64Array, out: Float64Array}} sums of absolute scores by unit; an edge into
 *     shared keys or values counts for each head that reads them, too
 */
export function sums(data, method, units) {
  const into = new Float64Array(units.units.length);
  const out = new Float64Array(units.units.length);
  data.dests.forEach((dest, d) => {
    const module = data.modules[dest.module];
    let sum = 0;
    for (let position = 0; position < Math.max(data.positions, 1); position++) {
      const first = edgeIndex(data, module.inStart, d, position);
      for (let i = 0; i < module.n; i++) {
        const score = Math.abs(method.scores[first + i]) || 0;
        sum += score;
        out[units.ofSrc[module.inStart + i]] += score;
      }
    }
    into[units.ofDest[d]] += sum;
    for (let i = 0; i < dest.readers; i++) {
      const head = units.byName.get(`${dest.name.split('.')[0]}.${dest.firstReader + i}`);
      if (head !== undefined) {
        into[head] += sum;
      }
    }
  });
  return { in: into, out };
}

/**
 * Finds what a circuit consists of: pairs of nodes, each with its edges, the strongest first.
 *
 * @typedef {{src: number, dest: number, from: number, to: number, edges: number[],
 *   live: boolean} & Look} Pair from and to are units; live on a path from the first
 *   node to the last
 * @typedef {{kind: string, share: number, score: number}} Look kind is a class of styles; share is
 *   that of the greatest score
 * @param {Data} data
 * @param {Units} units
 * @param {number[]} edges the strongest first
 * @param {(edge: number) => Look} look
 * @returns {Pair[]}
 */
export function pairsOf(data, units, edges, look) {
  /** @type {Map<number, Pair>} */
  const pairs = new Map();
  for (const edge of edges) {
    const { src, dest } = edgeAt(data, edge);
    const key = src * data.dests.length + dest;
    const pair = pairs.get(key);
    if (pair) {
      pair.edges.push(edge);
    } else {
      pairs.set(key, {
        src, dest, from: units.ofSrc[src], to: units.ofDest[dest],
        edges: [edge], live: false, ...look(edge),
      });
    }
  }
  const all = [...pairs.values()];
  markLive(units, all);
  return all;
}

/**
 * @param {Units} units
 * @param {Pair[]} pairs
 */
function markLive(units, pairs) {
  const count = units.units.length;
  /** Units that write what a unit reads: itself, the readers of shared keys, latents. */
  const carried = units.units.map((unit, u) => {
    if (unit.kind !== 'kv') {
      // An MLP that an autoencoder takes apart writes by its latents.
      return unit.src >= 0 || !unit.name.startsWith('MLP') ? [u]
        : [...units.units.keys()].filter((v) => units.units[v].name.startsWith(`${unit.name} `));
    }
    const block = unit.name.split(' ')[0];
    const heads = [];
    for (let i = 0; i < unit.readers; i++) {
      const head = units.byName.get(`${block}.${unit.slot + 0.5 + i}`);
      if (head !== undefined) {
        heads.push(head);
      }
    }
    return heads;
  });
  const byLayer = [...pairs].sort((a, b) => units.units[a.from].layer - units.units[b.from].layer
    || units.units[a.to].layer - units.units[b.to].layer);
  const reached = new Uint8Array(count);
  const needed = new Uint8Array(count);
  const start = units.byName.get('Resid Start');
  const end = units.byName.get('Resid End');
  if (units.units.some((unit) => /^Resid (Mid|Post)/.test(unit.name))) {
    // Heads read the stream without an edge for it.
    reached.fill(1);
  }
  if (start !== undefined) { reached[start] = 1; }
  if (end !== undefined) { needed[end] = 1; }
  for (const pair of byLayer) {
    if (reached[pair.from]) {
      carried[pair.to].forEach((u) => { reached[u] = 1; });
    }
  }
  for (const pair of byLayer.reverse()) {
    if (carried[pair.to].some((u) => needed[u])) {
      needed[pair.from] = 1;
    }
  }
  for (const pair of pairs) {
    pair.live = !!reached[pair.from] && carried[pair.to].some((u) => needed[u]);
  }
}
