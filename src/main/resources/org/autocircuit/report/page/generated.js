import { Refused } from './engine.js';
import { question } from './hand.js';
import { h } from './text.js';

/** Lets the model go on with and without edges patched, token by token. */

const TOKENS = 40;

/**
 * @param {import('./main.js').Page} page
 * @param {import('./engine.js').Engine} engine
 * @param {import('./hand.js').Hand} hand
 * @returns {HTMLElement}
 */
export function generatedView(page, engine, hand) {
  const { store } = page;
  const texts = { plain: h('p', { class: 'text' }), patched: h('p', { class: 'text' }) };
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const tokens = /** @type {HTMLInputElement} */ (h('input', { type: 'number', id: 'tokens', min: 1,
    max: 200, value: TOKENS, 'aria-label': 'Number of tokens' }));
  /** @type {AbortController|null} */
  let running = null;
  const go = h('button', { type: 'button', id: 'go', onclick: () => {
    if (running) {
      running.abort();
    } else {
      generate();
    }
  } }, 'Go on');
  const view = h('section', { class: 'card', id: 'generated', 'aria-label': 'Generated text' },
    h('h2', {}, 'How the model goes on'),
    h('p', {}, go, ' for ', tokens, ' tokens, always with the most probable one.'),
    problem,
    h('div', { class: 'sides' },
      h('div', {}, h('h3', {}, 'The model'), texts.plain),
      h('div', {}, h('h3', {}, 'With edges patched'), texts.patched)));

  async function generate() {
    running = new AbortController();
    go.textContent = 'Stop';
    problem.hidden = true;
    view.dataset.state = 'busy';
    const prompt = store.state.clean ?? '';
    for (const text of Object.values(texts)) {
      text.replaceChildren(h('span', { class: 'share' }, prompt), h('span', {}));
    }
    try {
      const response = await engine.send('/generate', {
        ...question(page, hand.patched(store.state)), max_tokens: Number(tokens.value) || TOKENS,
      }, running.signal);
      for await (const line of lines(response)) {
        if (line.problem) {
          throw new Refused(line.problem);
        }
        const of = texts[/** @type {'plain'|'patched'} */ (line.side)];
        /** @type {Element} */ (of.lastElementChild).append(line.text);
      }
    } catch (e) {
      problem.textContent = e instanceof Refused ? e.message
        : running.signal.aborted ? '' : 'The answer broke off.';
      problem.hidden = !problem.textContent;
    }
    running = null;
    go.textContent = 'Go on';
    view.dataset.state = 'done';
  }
  return view;
}

/**
 * @param {Response} response
 * @returns {AsyncGenerator<any>} the documents of its lines
 */
export async function* lines(response) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body)
    .pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    rest += value ?? '';
    const whole = rest.split('\n');
    rest = whole.pop() ?? '';
    for (const line of whole) {
      yield JSON.parse(line);
    }
    if (done) {
      return;
    }
  }
}
