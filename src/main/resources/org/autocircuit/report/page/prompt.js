import { edgeName } from './data.js';
import { newest, Refused } from './engine.js';
import { term } from './glossary.js';
import { question } from './hand.js';
import { measuresView } from './measures.js';
import { methodChoice } from './methods.js';
import { pastView } from './past.js';
import { bare, count, counted, h, number, percent, signed } from './text.js';

/**
 * Shows what the model says after a prompt, and what it says with edges patched.
 *
 * @typedef {{clean: string[], corrupt: string[], next: {id: number, token: string,
 *   plain: [number, number], patched: [number, number]}[], answer: number, wrong: number,
 *   difference: [number, number, number], recovered: number|null, kl: number}} Said plain and
 *   patched are probability and logit; wrong is -1 for none; difference is that of the model, with
 *   edges patched, with all edges patched
 * @typedef {import('./main.js').Page} Page
 */

/** So long after the last key a prompt runs, in milliseconds. */
const PAUSE = 250;

/** Parts of the state that a run depends on. */
const INPUTS = ['clean', 'corrupt', 'answer', 'wrong', 'base', 'hand', 'ablation', 'at', 'size',
  'positive', 'negative'];

/**
 * @param {Page} page
 * @param {import('./engine.js').Engine} engine
 * @param {import('./hand.js').Hand} hand
 */
export function liveView(page, engine, hand) {
  const { store } = page;
  const next = h('section', { class: 'panel next', id: 'next', 'aria-label': 'Next tokens' });
  const result = h('div', {});
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const changed = h('div', {});
  next.append(h('h2', {}, 'What comes next'), problem, result, measuresView(page, engine, hand),
    changed);
  let runs = 0;

  const ask = newest(async () => {
    next.dataset.state = 'busy';
    const flags = hand.patched(store.state);
    try {
      const said = await engine.ask('/run', question(page, flags));
      show(said, flags);
      engine.hear(said);
      problem.hidden = true;
    } catch (e) {
      problem.textContent = e instanceof Refused ? e.message : '';
      problem.hidden = !problem.textContent;
    }
    next.dataset.state = 'done';
    next.dataset.run = String(++runs);
  });

  /**
   * @param {Said} said
   * @param {Uint8Array} flags
   */
  function show(said, flags) {
    const kept = flags.reduce((sum, flag) => sum + 1 - flag, 0);
    const name = (/** @type {number} */ id) =>
      bare(said.next.find((token) => token.id === id)?.token ?? '');
    const recovered = said.recovered;
    const meter = h('span', { class: 'meter' });
    meter.style.setProperty('--share', String(Math.min(1, Math.max(0, recovered ?? 0))));
    result.replaceChildren(
      h('p', { role: 'status' }, h('strong', {}, counted(kept, 'edge')), ' kept, ',
        count(flags.length - kept), ' ', term('patched'), recovered === null ? '.' : ': ',
      recovered === null ? '' : h('strong', { id: 'recovered' }, percent(recovered)),
      recovered === null ? '' : ' ', recovered === null ? '' : term('recovered'), meter),
      h('table', { class: 'said' },
        h('thead', {}, h('tr', {}, ...['token', 'model', 'patched', 'logits'].map((title, i) =>
          h('th', { scope: 'col', class: i === 3 ? 'n' : '' }, title)))),
        h('tbody', {}, ...said.next.map((token) => h('tr', { 'data-id': token.id,
          class: token.id === said.answer ? 'right' : token.id === said.wrong ? 'wrong' : '' },
        h('th', { scope: 'row', 'data-tip': role(said, token.id) ?? token.token },
          bare(token.token)),
        bar(token.plain[0], 'plain'), bar(token.patched[0], 'patched'),
        h('td', { class: 'n' }, `${number(token.plain[1])} → ${number(token.patched[1])}`))))),
      h('dl', { class: 'facts' },
        h('dt', {}, term('logit difference')), h('dd', { id: 'difference' },
          `${signed(said.difference[0])} → ${signed(said.difference[1])} `,
          h('span', { class: 'share' }, said.wrong < 0 ? `(of ${name(said.answer)})`
            : `(${name(said.answer)} less ${name(said.wrong)})`)),
        h('dt', {}, 'all edges patched'), h('dd', {}, signed(said.difference[2])),
        h('dt', {}, term('KL')), h('dd', { id: 'kl' }, number(said.kl))));
  }

  /** Shows what was changed by hand, and a way to change more of it without a pointer. */
  function showChanges() {
    const changes = hand.changes(store.state);
    const { units } = page;
    const blocks = Math.max(...units.units.map((unit) => unit.block)) + 1;
    const chosen = store.state.node || (store.state.edge >= 0 ? String(store.state.edge) : '');
    const label = store.state.node || (chosen && edgeName(page.data, store.state.edge));
    const focused = document.activeElement?.id;
    changed.replaceChildren(
      ...(chosen && hand.edges(chosen).length ? [h('p', {}, h('button', { type: 'button',
        id: 'patch', onclick: () => hand.toggle(chosen) },
      `${hand.isPatched(store.state, chosen) ? 'Keep' : 'Patch'} ${label}`))] : []),
      ...(blocks > 0 ? [h('p', { class: 'blocks' }, 'Blocks: ', ...d3.range(blocks).map((b) =>
        h('button', { type: 'button', id: `block-${b}`, 'aria-label': `Patch block ${b}`,
          'aria-pressed': String(changes.some((c) => c.text === `-block ${b}`)),
          onclick: () => hand.toggle(`block ${b}`) }, b)))] : []),
      ...(changes.length ? [h('p', { class: 'chips' }, 'By hand: ', ...changes.map((change) =>
        h('button', { type: 'button', class: change.patch ? 'chip patched' : 'chip',
          'aria-label': `Take back: ${change.patch ? 'patch' : 'keep'} ${change.label}`,
          onclick: () => store.set({ hand: changes.filter((c) => c !== change)
            .map((c) => c.text).join() }) },
        `${change.patch ? 'patched' : 'kept'} ${change.label} ×`)))]
        : [h('p', { class: 'note' }, 'Click an edge, a head or a block to patch it.')]));
    if (focused && !document.activeElement?.id) {
      document.getElementById(focused)?.focus();
    }
  }

  const explore = /** @type {HTMLElement} */ (document.querySelector('.explore'));
  explore.classList.add('live');
  explore.append(next);
  document.querySelector('.controls')?.before(promptView(page, engine));
  store.subscribe((_, changes) => {
    if (INPUTS.some((name) => changes.has(name))) {
      ask();
    }
    if (['hand', 'base', 'size', 'node', 'edge'].some((name) => changes.has(name))) {
      showChanges();
      page.live?.mark(d3.select('#graph'));
    }
  });
  engine.subscribe((presence) => {
    if (presence === 'there') {
      ask();
    }
  });
}

/**
 * @param {Said} said
 * @param {number} id
 * @returns {string|null}
 */
function role(said, id) {
  return id === said.answer ? 'the answer: what the model says, unless another is named'
    : id === said.wrong ? 'the wrong answer: what the model says after the corrupt prompt, unless'
      + ' another is named' : null;
}

/**
 * @param {number} share
 * @param {string} kind
 * @returns {HTMLElement}
 */
function bar(share, kind) {
  const cell = h('td', { class: `prob ${kind}` }, percent(share));
  cell.style.setProperty('--share', String(share));
  return cell;
}

/**
 * @param {Page} page
 * @param {import('./engine.js').Engine} engine
 * @returns {HTMLElement} where people type prompts and say what runs
 */
function promptView(page, engine) {
  const { store, data } = page;
  const served = /** @type {import('./engine.js').Served} */ (data.engine);
  /**
   * @param {'clean'|'corrupt'|'answer'|'wrong'} name
   * @param {Node|string} label
   * @param {string} hint
   */
  const field = (name, label, hint) => {
    let timer = 0;
    const input = /** @type {HTMLInputElement} */ (h('input', {
      type: 'text', id: name, placeholder: hint, spellcheck: 'false', autocomplete: 'off',
      oninput: () => {
        clearTimeout(timer);
        timer = window.setTimeout(take, PAUSE);
      },
      onchange: () => take(),
    }));
    const take = () => {
      clearTimeout(timer);
      store.set({ [name]: input.value });
    };
    store.subscribe((state) => {
      if (input.value !== state[name] && document.activeElement !== input) {
        input.value = state[name] ?? '';
      }
    });
    return h('div', { class: `field ${name}` }, h('label', { for: name }, label), input);
  };
  /**
   * @param {'base'|'ablation'} name
   * @param {string} label
   * @param {[string, string][]} options
   */
  const choice = (name, label, options) => {
    const select = /** @type {HTMLSelectElement} */ (h('select', {
      id: name, onchange: () => store.set({ [name]: select.value }),
    }, ...options.map(([value, text]) => h('option', { value }, text))));
    store.subscribe((state) => { select.value = state[name] ?? ''; });
    return h('label', {}, `${label} `, select);
  };
  return h('section', { class: 'card prompt', id: 'prompt', 'aria-label': 'Prompt' },
    field('clean', 'Prompt', 'A prompt'),
    field('corrupt', h('span', {}, 'Corrupt twin'), 'As many tokens, another answer'),
    h('div', { class: 'line' },
      field('answer', 'Answer', 'what the model says'),
      field('wrong', 'instead of', 'what it says after the twin'),
      choice('base', 'Run', [['circuit', 'the circuit alone'], ['model', 'the whole model']]),
      choice('ablation', 'patched with', served.ablations.map((name) => [name, PATCHES[name] ?? name])),
      positionChoice(page, engine), methodChoice(page, engine), pastView(page)));
}

/** @type {Record<string, string>} */
const PATCHES = {
  resample: 'the twin', zero: 'zeros', 'batch-all-tok-mean': 'the twin\'s mean',
};

/**
 * @param {Page} page
 * @param {import('./engine.js').Engine} engine
 * @returns {HTMLElement} the words of the prompt, at one of which edges may be patched alone
 */
function positionChoice(page, engine) {
  const { store } = page;
  const select = /** @type {HTMLSelectElement} */ (h('select', {
    id: 'at', onchange: () => store.set({ at: Number(select.value) }),
  }));
  /** @param {string[]} words */
  const fill = (words) => {
    select.replaceChildren(h('option', { value: -1 }, 'every word'),
      ...words.map((word, i) => h('option', { value: i }, `${i} ${bare(word)}`)));
    select.value = String(store.state.at);
  };
  fill([]);
  engine.heard((said) => {
    if (words !== said.clean.join()) {
      words = said.clean.join();
      fill(said.clean);
    }
  });
  let words = '';
  store.subscribe((state, changed) => {
    if (changed.has('at')) {
      select.value = String(state.at);
    }
  });
  return h('label', {}, 'at ', select);
}
