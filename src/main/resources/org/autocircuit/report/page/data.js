/**
 * Reads what Java wrote into the page (PageData.java), and answers questions about edges.
 *
 * An edge is known by its index: modules of destinations follow one another, and inside a module
 * the order is [position][row][source].
 *
 * @typedef {{name: string, layer: number, head: number, block: number}} Source
 * @typedef {{name: string, layer: number, head: number, block: number, firstReader: number,
 *   readers: number, module: number, row: number}} Destination a key or value input that several
 *   query heads share has readers, others have none
 * @typedef {{offset: number, rows: number, inStart: number, n: number, firstDest: number}} Module
 * @typedef {{name: string, unit: string, sign: string, meaning: string, scores: Float32Array,
 *   errors: Float32Array|null, order: Uint32Array, rank: Uint32Array}} Method scores and their
 *   standard errors by edge index, NaN where the page has none; all edges with a score, the greatest absolute ones first; ranks from 1, 0 for none
 * @typedef {{edges: number, metric: number|null, error: number|null, recovered: number|null,
 *   kl: number|null, accuracy: number|null, prompts?: (number|null)[]}} Point one circuit; error is
 *   the standard error of the metric, prompts the metric on each prompt
 * @typedef {{name: string, conditions: string, metric: string, range: number|null,
 *   error: number|null, clear: boolean, all: Point, none: Point, found: Point[],
 *   baselines: {name: string, points: Point[]}[], cpr: number|null, cmd: number|null}} Curve
 *   circuits by size; clear if shares of the range from no edge to all mean anything
 * @typedef {{share: number, edges: number, recovered: number|null, tested: number|null}} Smallest
 * @typedef {{clean: string[], corrupt: string[], answers: string[], wrong: string[]}} Prompt
 * @typedef {{of: number, rows: Prompt[]}} Prompts
 * @typedef {{prompt: number, heads: Map<string, Uint8Array[]>}} Attention by name of the head, query
 *   and key; 255 for all of it
 * @typedef {{title: string, facts: [string, string][], srcs: Source[], dests: Destination[],
 *   modules: Module[], edges: number, positions: number, words: string[], methods: Method[],
 *   exact: Map<number, number>, verified: string, curves: Curve[], smallest?: Smallest,
 *   prompts?: Prompts, attention: Attention[], engine?: import('./engine.js').Served}} Data
 */

/**
 * @param {string} json
 * @returns {Data}
 */
export function readData(json) {
  const raw = JSON.parse(json);
  const graph = raw.graph;
  /** @type {Source[]} */
  const srcs = graph.srcs.map((/** @type {[string, number, number, number]} */ s) => ({
    name: s[0], layer: s[1], head: s[2], block: s[3],
  }));
  /** @type {Module[]} */
  const modules = graph.modules.map((/** @type {number[]} */ m) => ({
    offset: m[0], rows: m[1], inStart: m[2], n: m[3], firstDest: m[4],
  }));
  /** @type {Destination[]} */
  const dests = graph.dests.map(
    (/** @type {[string, number, number, number, number?, number?]} */ d) => ({
      name: d[0], layer: d[1], head: d[2], block: d[3],
      firstReader: d[4] ?? -1, readers: d[5] ?? 0, module: 0, row: 0,
    }));
  modules.forEach((module, m) => {
    for (let row = 0; row < module.rows; row++) {
      dests[module.firstDest + row].module = m;
      dests[module.firstDest + row].row = row;
    }
  });
  return {
    title: raw.title,
    facts: raw.facts,
    srcs, dests, modules,
    edges: graph.edges,
    positions: graph.positions,
    words: raw.positions ?? [],
    methods: raw.methods.map((/** @type {any} */ m) => readMethod(m, graph.edges)),
    exact: new Map(raw.exact ?? []),
    verified: raw.verified ?? '',
    curves: raw.curves,
    smallest: raw.smallest,
    prompts: raw.prompts,
    engine: raw.engine,
    attention: raw.attention.map(readAttention),
  };
}

/**
 * @param {any} raw
 * @param {number} edges
 * @returns {Method}
 */
function readMethod(raw, edges) {
  const indices = raw.indices ? new Uint32Array(bytes(raw.indices)) : null;
  /** @param {string} base64 @returns {Float32Array} */
  const read = (base64) => {
    const some = new Float32Array(bytes(base64));
    if (!indices) {
      return some;
    }
    const all = new Float32Array(edges).fill(NaN);
    indices.forEach((edge, i) => { all[edge] = some[i]; });
    return all;
  };
  const scores = read(raw.scores);
  const errors = raw.errors ? read(raw.errors) : null;
  const sizes = scores.map(Math.abs);
  const known = Uint32Array.from(scores.keys()).filter((i) => !Number.isNaN(scores[i]));
  const order = known.sort((a, b) => sizes[b] - sizes[a] || a - b);
  const rank = new Uint32Array(edges);
  order.forEach((edge, i) => { rank[edge] = i + 1; });
  const { name, unit, sign, meaning } = raw;
  return { name, unit, sign, meaning, scores, errors, order, rank };
}

/**
 * @param {{prompt: number, heads: string[], weights: string}} raw
 * @returns {Attention}
 */
function readAttention({ prompt, heads, weights }) {
  const all = new Uint8Array(bytes(weights));
  const ofHead = all.length / heads.length;
  return {
    prompt,
    heads: new Map(heads.map((head, i) => {
      const rows = [];
      for (let at = i * ofHead, query = 0; at < (i + 1) * ofHead; at += ++query) {
        rows.push(all.subarray(at, at + query + 1));
      }
      return [head, rows];
    })),
  };
}

/**
 * @param {string} base64
 * @returns {ArrayBuffer}
 */
export function bytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer;
}

/**
 * @param {Data} data
 * @param {number} index of an edge
 * @returns {{src: number, dest: number, position: number}} position 0 where edges have none
 */
export function edgeAt(data, index) {
  let low = 0;
  let high = data.modules.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (data.modules[middle].offset <= index) { low = middle; } else { high = middle - 1; }
  }
  const module = data.modules[low];
  const local = index - module.offset;
  const row = Math.floor(local / module.n) % module.rows;
  return {
    src: module.inStart + local % module.n,
    dest: module.firstDest + row,
    position: Math.floor(local / (module.n * module.rows)),
  };
}

/**
 * @param {Data} data
 * @param {number} src
 * @param {number} dest
 * @param {number} position
 * @returns {number} the index of an edge, -1 where there is none
 */
export function edgeIndex(data, src, dest, position) {
  const { module: m, row } = data.dests[dest];
  const module = data.modules[m];
  if (src < module.inStart || src >= module.inStart + module.n) {
    return -1;
  }
  return module.offset + (position * module.rows + row) * module.n + src - module.inStart;
}

/**
 * @param {Data} data
 * @param {number} index of an edge
 * @returns {string} its name, for people
 */
export function edgeName(data, index) {
  const { src, dest, position } = edgeAt(data, index);
  const at = data.positions ? ` at ${positionName(data, position)}` : '';
  return `${data.srcs[src].name} → ${destName(data.dests[dest])}${at}`;
}

/**
 * @param {Destination} dest
 * @returns {string} its name, and who reads it where several do
 */
export function destName(dest) {
  if (!dest.readers) {
    return dest.name;
  }
  const last = dest.firstReader + dest.readers - 1;
  const heads = `${dest.firstReader}${dest.readers === 2 ? ', ' : '–'}${last}`;
  return `${dest.name} (kv ${dest.head}: heads ${heads})`;
}

/**
 * @param {Data} data
 * @param {number} position
 * @returns {string}
 */
export function positionName(data, position) {
  return `${position}${data.words[position] ? ` ${data.words[position]}` : ''}`;
}

/**
 * @param {Method} method
 * @param {number} threshold
 * @returns {number} how many edges have absolute scores of at least that
 */
export function sizeAtThreshold(method, threshold) {
  let low = 0;
  let high = method.order.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (Math.abs(method.scores[method.order[middle]]) >= threshold) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/**
 * @param {Method} method
 * @param {number} size
 * @returns {number} the least absolute score in the circuit of that size
 */
export function thresholdAtSize(method, size) {
  return size === 0 ? Infinity : Math.abs(method.scores[method.order[size - 1]]);
}

/**
 * @param {number} edge in one of two circuits
 * @param {Method} left
 * @param {Method} right
 * @param {number} size
 * @returns {'both'|'left'|'right'} which of the two it is in
 */
export function sideOf(edge, left, right, size) {
  /** @param {Method} method */
  const inside = (method) => method.rank[edge] > 0 && method.rank[edge] <= size;
  return inside(left) ? (inside(right) ? 'both' : 'left') : 'right';
}
