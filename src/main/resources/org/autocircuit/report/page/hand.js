import { edgeName } from './data.js';
import { inputsOf, outputsOf } from './units.js';

/**
 * Knows which edges are patched: all but a circuit, or none, and what people changed by hand. A
 * change is written -NAME for what is patched and +NAME for what is kept, NAME being that of a node
 * (all edges from it), "block 3", or the index of an edge; later changes win.
 *
 * @typedef {import('./state.js').State} State
 * @typedef {{text: string, patch: boolean, label: string, edges: number[]}} Change
 */

export class Hand {
  /** @param {import('./main.js').Page} page */
  constructor(page) {
    this.page = page;
    /** @type {Map<string, number[]>} */
    this.known = new Map();
  }

  /**
   * @param {string} name
   * @returns {number[]} its edges, none if nothing is called so
   */
  edges(name) {
    let found = this.known.get(name);
    if (!found) {
      found = this.find(name);
      this.known.set(name, found);
    }
    return found;
  }

  /**
   * @param {string} name
   * @returns {number[]}
   */
  find(name) {
    const { data, units } = this.page;
    if (/^\d+$/.test(name)) {
      return Number(name) < data.edges ? [Number(name)] : [];
    }
    const block = /^block (\d+)$/.exec(name);
    const of = block
      ? units.units.filter((unit) => unit.block === Number(block[1]) && unit.src >= 0)
      : units.units.filter((unit) => unit.name === name);
    return of.flatMap((unit) => (unit.src >= 0 ? outputsOf(data, unit) : inputsOf(data, unit)));
  }

  /**
   * @param {State} state
   * @returns {Change[]}
   */
  changes(state) {
    return (state.hand ?? '').split(',').flatMap((text) => {
      const name = text.slice(1);
      const edges = /^[+-]/.test(text) ? this.edges(name) : [];
      const label = /^\d+$/.test(name) ? edges.map((e) => edgeName(this.page.data, e)).join() : name;
      return edges.length ? [{ text, patch: text[0] === '-', label, edges }] : [];
    });
  }

  /**
   * @param {State} state
   * @returns {Uint8Array} by edge, 1 for those that are patched
   */
  patched(state) {
    const patched = new Uint8Array(this.page.data.edges);
    if (state.base === 'circuit') {
      patched.fill(1);
      this.page.circuit({ ...state, other: 0 }).forEach((edge) => { patched[edge] = 0; });
    }
    for (const { patch, edges } of this.changes(state)) {
      edges.forEach((edge) => { patched[edge] = patch ? 1 : 0; });
    }
    return patched;
  }

  /**
   * @param {State} state
   * @param {string} name
   * @returns {boolean} whether all its edges are patched
   */
  isPatched(state, name) {
    const patched = this.patched(state);
    const edges = this.edges(name);
    return edges.length > 0 && edges.every((edge) => patched[edge]);
  }

  /**
   * Patches what is kept, and keeps what is patched; takes an earlier change back where that does.
   *
   * @param {string} name
   */
  toggle(name) {
    const { store } = this.page;
    const before = this.changes(store.state);
    const without = before.filter((change) => change.text.slice(1) !== name);
    const now = this.isPatched(store.state, name);
    const texts = without.map((change) => change.text);
    if (without.length === before.length
      || this.isPatched({ ...store.state, hand: texts.join() }, name) === now) {
      texts.push(`${now ? '+' : '-'}${name}`);
    }
    store.set({ hand: texts.join() });
  }
}

/**
 * @param {Uint8Array} flags
 * @returns {string} a bit for each, the first one the lowest of the first byte, in base64
 */
export function bits(flags) {
  const bytes = new Uint8Array((flags.length + 7) >> 3);
  flags.forEach((flag, i) => { bytes[i >> 3] |= flag << (i & 7); });
  let text = '';
  for (let i = 0; i < bytes.length; i += 4096) {
    text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  }
  return btoa(text);
}

/**
 * @param {import('./main.js').Page} page
 * @param {Uint8Array} flags
 * @returns {Record<string, any>} what the server is asked
 */
export function question(page, flags) {
  const { clean, corrupt, answer, wrong, ablation, at } = page.store.state;
  return { clean, corrupt, answer, wrong, ablation, at, patched: bits(flags) };
}
