/**
 * Holds what a person chose. It is written into the fragment of the address, so that a link or a
 * reload shows the same.
 *
 * @typedef {{size: number, node: string, edge: number, all: boolean, other: number,
 *   positive: boolean, negative: boolean, position: number, heat: string, theme: string, zoom: number,
 *   curve: number, scale: string,
 *   clean?: string, corrupt?: string, answer?: string, wrong?: string, base?: string, hand?: string,
 *   ablation?: string, at?: number}} State node is
 *   the name of a unit, edge an index; at most one of them is chosen, and '' and -1 stand
 *   for nothing; position -1 is all of them; other is
 *   the index of a method to compare with, 0 for none; scale of sizes is 'log' or 'linear'; those
 *   from clean on are for a server that runs circuits: hand is what hand.js says, at a position, -1
 *   for all
 */

/** @type {(keyof State)[]} */
const NUMBERS = ['size', 'edge', 'other', 'position', 'zoom', 'curve', 'at'];
/** @type {(keyof State)[]} */
const FLAGS = ['all', 'positive', 'negative'];

export class Store {
  /**
   * @param {State} defaults
   * @param {(state: State) => State} mend makes what an address says one of the states there are
   */
  constructor(defaults, mend) {
    this.defaults = defaults;
    this.mend = mend;
    /** @type {State} */
    this.state = { ...defaults };
    /** @type {((state: State, changed: Set<string>) => void)[]} */
    this.listeners = [];
    this.read();
    addEventListener('hashchange', () => {
      const before = this.state;
      this.state = { ...this.defaults };
      this.read();
      this.tell(before);
    });
  }

  /** @param {(state: State, changed: Set<string>) => void} listener is called now, too */
  subscribe(listener) {
    this.listeners.push(listener);
    listener(this.state, new Set(Object.keys(this.state)));
  }

  /** @param {Partial<State>} changes */
  set(changes) {
    const before = this.state;
    this.state = { ...before, ...changes };
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(this.state)) {
      if (value !== this.defaults[/** @type {keyof State} */ (name)]) {
        parameters.set(name, String(value));
      }
    }
    history.replaceState(null, '', `#${parameters}`);
    this.tell(before);
  }

  /** @param {State} before */
  tell(before) {
    const changed = new Set(Object.keys(this.state).filter((name) =>
      this.state[/** @type {keyof State} */ (name)] !== before[/** @type {keyof State} */ (name)]));
    if (changed.size) {
      this.listeners.forEach((listener) => listener(this.state, changed));
    }
  }

  /** Takes what the fragment says and is of the right kind. */
  read() {
    const parameters = new URLSearchParams(location.hash.slice(1));
    /** @type {any} */
    const state = this.state;
    for (const name of Object.keys(state)) {
      const text = parameters.get(name);
      if (text === null) {
        continue;
      }
      if (NUMBERS.includes(/** @type {keyof State} */ (name))) {
        const value = Number(text);
        state[name] = Number.isFinite(value) ? value : state[name];
      } else if (FLAGS.includes(/** @type {keyof State} */ (name))) {
        state[name] = text === 'true';
      } else {
        state[name] = text;
      }
    }
    this.state = this.mend(this.state);
  }
}
