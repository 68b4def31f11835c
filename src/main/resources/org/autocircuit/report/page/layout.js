/**
 * Places units: blocks from left to right, heads as rows, all else in rows below the heads. Curves
 * stay inside of the canvas, since a Bézier curve stays inside of the hull of its four points.
 *
 * @typedef {import('./units.js').Unit} Unit
 * @typedef {import('./units.js').Pair} Pair
 * @typedef {{x: number, y: number, width: number, height: number}} Box
 * @typedef {{boxes: Map<number, Box>, width: number, height: number, lows: Set<number>,
 *   bands: {block: number, from: number, to: number}[]}} Layout boxes by unit
 */

export const BOX_WIDTH = 66;
const MARGIN = 26;
const TOP = 30;
const ROW = 46;
const TALL = 40;
const LOW = 26;
/** From one line of a name to the next. */
export const LINE = 15;
/** Distances of columns whose boxes share rows, and of those whose boxes do not. */
const WIDE_STEP = BOX_WIDTH + 44;
const NARROW_STEP = BOX_WIDTH + 12;
const WIDEST_STEP = 190;
/** Room below for curves between boxes in one row. */
const BOTTOM = 44;

/**
 * @param {Unit[]} units
 * @param {number[]} shown indices of units
 * @param {number} width that there is
 * @returns {Layout}
 */
export function layOut(units, shown, width) {
  const columns = [...new Set(shown.map((u) => units[u].layer))].sort((a, b) => a - b);
  const of = columns.map((layer) => shown.filter((u) => units[u].layer === layer));
  const slots = [...new Set(shown.filter((u) => units[u].kind !== 'other').map((u) => units[u].slot))]
    .sort((a, b) => a - b);
  const heads = slots.length;
  // Nodes that are no heads stand below these, but for nodes of the stream in columns of their own.
  const lows = new Set(of.flatMap((column) => column.filter((u) => units[u].kind === 'other'
    && (!units[u].name.startsWith('Resid') || column.some((v) => units[v].kind !== 'other')))));
  const steps = columns.slice(1).map((_, i) => (sharesRows(of[i], of[i + 1], lows) ? WIDE_STEP
    : NARROW_STEP));
  const least = steps.reduce((sum, step) => sum + step, 0);
  const room = width - 2 * MARGIN - BOX_WIDTH;
  const stretch = Math.max(1, Math.min(room / Math.max(least, 1), WIDEST_STEP / NARROW_STEP));
  const xs = [MARGIN];
  steps.forEach((step) => xs.push(xs[xs.length - 1] + step * stretch));

  /** @type {Map<number, Box>} */
  const boxes = new Map();
  let lowest = TOP + heads * ROW;
  of.forEach((column, c) => {
    const singles = column.filter((u) => units[u].kind === 'other');
    for (const u of column) {
      const height = units[u].ports.size > 1 ? TALL : LOW + (units[u].lines.length - 1) * LINE;
      const place = singles.indexOf(u);
      let y;
      if (place < 0) {
        y = TOP + slots.indexOf(units[u].slot) * ROW;
      } else if (lows.has(u)) {
        y = TOP + heads * ROW + 8 + place * ROW;
      } else {
        y = TOP + Math.max(0, (heads - 1) / 2) * ROW + place * ROW;
      }
      y += (TALL - height) / 2;
      boxes.set(u, { x: xs[c], y, width: BOX_WIDTH, height });
      lowest = Math.max(lowest, y + height);
    }
  });
  /** @type {Map<number, {block: number, from: number, to: number}>} */
  const bands = new Map();
  for (const [u, box] of boxes) {
    const { block, name } = units[u];
    if (block >= 0 && !name.startsWith('Resid')) {
      const band = bands.get(block) ?? { block, from: box.x, to: box.x };
      band.from = Math.min(band.from, box.x);
      band.to = Math.max(band.to, box.x + BOX_WIDTH);
      bands.set(block, band);
    }
  }
  return {
    boxes, lows,
    width: Math.max(xs[xs.length - 1] + BOX_WIDTH + MARGIN, Math.min(width, 320)),
    height: lowest + BOTTOM,
    bands: [...bands.values()],
  };
}

/**
 * @param {number[]} left
 * @param {number[]} right
 * @param {Set<number>} lows
 * @returns {boolean} whether boxes of two neighbouring columns stand in the same rows
 */
function sharesRows(left, right, lows) {
  return left.some((u) => lows.has(u)) === right.some((u) => lows.has(u))
    || left.some((u) => !lows.has(u)) === right.some((u) => !lows.has(u));
}

/**
 * @param {Box} box
 * @param {string} port
 * @param {string[]} ports all of the box
 * @returns {number}
 */
export function portY(box, port, ports) {
  const place = ports.indexOf(port);
  return ports.length < 2 || place < 0 ? box.y + box.height / 2
    : box.y + (box.height * (2 * place + 1)) / (2 * ports.length);
}

/**
 * @param {Layout} layout
 * @param {Unit[]} units
 * @param {Pair} pair
 * @param {string} port where it ends
 * @returns {string} the path of a curve
 */
export function curve(layout, units, pair, port) {
  const from = /** @type {Box} */ (layout.boxes.get(pair.from));
  const to = /** @type {Box} */ (layout.boxes.get(pair.to));
  const x1 = from.x + from.width;
  const y1 = from.y + from.height / 2;
  const x2 = to.x;
  const y2 = portY(to, port, portsOf(units[pair.to]));
  const bend = Math.min(Math.max(24, (x2 - x1) * 0.42), layout.width - x1 - 2, x2 - 2);
  // Boxes between in the same row would hide a straight line.
  const flat = Math.abs(y1 - y2) < ROW / 2 && x2 - x1 > WIDE_STEP;
  const down = layout.lows.has(pair.from) && layout.lows.has(pair.to);
  const sag = flat ? (down ? 1 : -1) * Math.min(34 + (x2 - x1) / 40, 56) : 0;
  const c1 = clamp(y1 + sag, 4, layout.height - 4);
  const c2 = clamp(y2 + sag, 4, layout.height - 4);
  return `M${round(x1)},${round(y1)}C${round(x1 + bend)},${round(c1)} ${round(x2 - bend)},`
    + `${round(c2)} ${round(x2)},${round(y2)}`;
}

/**
 * @param {Unit} unit
 * @returns {string[]} its ports from top to bottom
 */
export function portsOf(unit) {
  return ['Q', 'K', 'V', ''].filter((port) => unit.ports.has(port));
}

/**
 * @param {number} x
 * @param {number} low
 * @param {number} high
 * @returns {number}
 */
function clamp(x, low, high) {
  return Math.min(Math.max(x, low), high);
}

/**
 * @param {number} x
 * @returns {number}
 */
function round(x) {
  return Math.round(10 * x) / 10;
}
