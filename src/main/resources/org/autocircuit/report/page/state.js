/**
 * Holds what a person chose. It is written into the fragment of the address, so that a link or a
 * reload shows the same.
 *
 * @typedef {{size: number, node: string, edge: number, all: boolean, other: number,
 *   positive: boolean, negative: boolean, position: number, heat: string, theme: string, zoom: number,
 *   curve: number, scale: string, prompt: number,
 *   clean?: string, corrupt?: string, answer?: string, wrong?: string, base?: string, hand?: string,
 *   ablation?: string, at?: number}} State node is
 *   the name of a unit, edge an index; at most one of them is chosen, and '' and -1 stand
 *   for nothing; position -1 is all of them; other is
 *   the index of a method to compare with, 0 for none; scale of sizes is 'log' or 'linear'; prompt
 *   the one of those whose attention is known; those
 *   from clean on are for a server that runs circuits: hand is what hand.js says, at a position, -1
 *   for all
 */

/** @template {Record<string, any>} S */
export class Store {
  /**
   * @param {S} defaults
   * @param {(state: S) => S} mend makes what an address says one of the states there are
   */
  constructor(defaults, mend) {
    this.defaults = defaults;
    this.mend = mend;
    /** @type {S} */
    this.state = { ...defaults };
    /** @type {((state: S, changed: Set<string>) => void)[]} */
    this.listeners = [];
    this.read();
    addEventListener('hashchange', () => {
      const before = this.state;
      this.state = { ...this.defaults };
      this.read();
      this.tell(before);
    });
  }

  /** @param {(state: S, changed: Set<string>) => void} listener is called now, too */
  subscribe(listener) {
    this.listeners.push(listener);
    listener(this.state, new Set(Object.keys(this.state)));
  }

  /** @param {Partial<S>} changes */
  set(changes) {
    const before = this.state;
    this.state = { ...before, ...changes };
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(this.state)) {
      if (value !== this.defaults[name]) {
        parameters.set(name, String(value));
      }
    }
    history.replaceState(null, '', `#${parameters}`);
    this.tell(before);
  }

  /** @param {S} before */
  tell(before) {
    const changed = new Set(Object.keys(this.state).filter((name) =>
      this.state[name] !== before[name]));
    if (changed.size) {
      this.listeners.forEach((listener) => listener(this.state, changed));
    }
  }

  /** Takes what the fragment says and is of the right kind. */
  read() {
    const parameters = new URLSearchParams(location.hash.slice(1));
    /** @type {any} */
    const state = this.state;
    for (const [name, value] of Object.entries(this.defaults)) {
      const text = parameters.get(name);
      if (text === null) {
        continue;
      }
      if (typeof value === 'number') {
        state[name] = Number.isFinite(Number(text)) ? Number(text) : value;
      } else {
        state[name] = typeof value === 'boolean' ? text === 'true' : text;
      }
    }
    this.state = this.mend(state);
  }
}
