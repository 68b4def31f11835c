/**
 * Talks to the server that the page is from.
 *
 * @typedef {{graph: string, method: string, ablation: string, methods: string[],
 *   ablations: string[], prompts: number, state: Record<string, any>}} Served what the server said
 *   of itself when it made the page
 * @typedef {'there'|'away'|'other'|'stranger'} Presence away: nobody answers; other: a server of
 *   another model does; stranger: one that does not know the page's token
 */

/** So long after a look whether the server is there comes the next one, in milliseconds. */
const LOOK = 3000;
const LOOK_AGAIN = 700;

/** Says what is wrong with a request, in the words of the server. */
export class Refused extends Error {}

export class Engine {
  /** @param {Served} served */
  constructor(served) {
    this.served = served;
    this.token = new URLSearchParams(location.search).get('token') ?? '';
    /** @type {Presence} */
    this.presence = 'there';
    /** @type {((presence: Presence) => void)[]} */
    this.listeners = [];
    /** @type {((said: import('./prompt.js').Said) => void)[]} */
    this.hearers = [];
    this.timer = 0;
    this.wait();
    document.addEventListener('visibilitychange', () => this.wait());
  }

  /** @param {(presence: Presence) => void} listener is told when the server goes and comes */
  subscribe(listener) {
    this.listeners.push(listener);
  }

  /** @param {(said: import('./prompt.js').Said) => void} listener is told what a run gave */
  heard(listener) {
    this.hearers.push(listener);
  }

  /** @param {import('./prompt.js').Said} said */
  hear(said) {
    this.hearers.forEach((listener) => listener(said));
  }

  /**
   * @param {string} path
   * @param {any} body
   * @param {AbortSignal} [signal]
   * @returns {Promise<Response>} that all went well
   * @throws {Refused} with what the server says
   */
  async send(path, body, signal) {
    let response;
    try {
      response = await fetch(path, {
        method: 'POST', signal, body: JSON.stringify(body),
        headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${this.token}` },
      });
    } catch (e) {
      if (!signal?.aborted) {
        this.found('away');
      }
      throw e;
    }
    if (!response.ok) {
      const said = await response.json().catch(() => null);
      throw new Refused(said?.error?.message ?? `the server answers ${response.status}`);
    }
    return response;
  }

  /**
   * @param {string} path
   * @param {any} body
   * @returns {Promise<any>} the document that answers
   */
  async ask(path, body) {
    return (await this.send(path, body)).json();
  }

  /** Looks whether the server is there, again and again while anybody looks at the page. */
  wait() {
    clearTimeout(this.timer);
    if (!document.hidden) {
      this.timer = window.setTimeout(() => this.look(), this.presence === 'there' ? LOOK : LOOK_AGAIN);
    }
  }

  async look() {
    try {
      const said = await this.ask('/health', {});
      this.found(said.graph === this.served.graph ? 'there' : 'other');
    } catch (e) {
      this.found(e instanceof Refused ? 'stranger' : 'away');
    }
    this.wait();
  }

  /** @param {Presence} presence */
  found(presence) {
    if (presence !== this.presence) {
      this.presence = presence;
      this.listeners.forEach((listener) => listener(presence));
      this.wait();
    }
  }
}

/**
 * @param {() => Promise<void>} work
 * @returns {() => void} asks for the work: while it runs, only the newest wish waits, so that a
 *     slider that is dragged is never behind by more than one run
 */
export function newest(work) {
  let running = false;
  let wished = false;
  return async function ask() {
    wished = true;
    if (running) {
      return;
    }
    running = true;
    while (wished) {
      wished = false;
      await work();
    }
    running = false;
  };
}
