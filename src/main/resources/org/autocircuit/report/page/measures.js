import { newest, Refused } from './engine.js';
import { term } from './glossary.js';
import { bits } from './hand.js';
import { h, number, percent, signed } from './text.js';

/** Measures on all prompts what is kept, once nothing has changed for a while. */

const PAUSE = 350;

/**
 * @param {import('./main.js').Page} page
 * @param {import('./engine.js').Engine} engine
 * @param {import('./hand.js').Hand} hand
 * @returns {HTMLElement}
 */
export function measuresView(page, engine, hand) {
  const { store, data } = page;
  const prompts = /** @type {import('./engine.js').Served} */ (data.engine).prompts;
  const place = h('dl', { class: 'facts', id: 'measures', 'aria-live': 'polite' });
  const ask = newest(async () => {
    const { clean, corrupt, ablation } = store.state;
    let said;
    try {
      said = await engine.ask('/measure', { clean: clean || ' ', corrupt: corrupt || ' ', ablation,
        patched: bits(hand.patched(store.state)) });
    } catch (e) {
      place.replaceChildren(...(e instanceof Refused
        ? [h('dt', {}, 'all prompts'), h('dd', {}, e.message)] : []));
      return;
    }
    place.replaceChildren(
      h('dt', {}, `on all ${prompts} prompts`),
      h('dd', {}, said.recovered === null ? 'the range is noise: nothing to share'
        : h('strong', {}, percent(said.recovered)), said.recovered === null ? '' : ' ',
      said.recovered === null ? '' : term('recovered')),
      h('dt', {}, term('logit difference')),
      h('dd', {}, `${signed(said.full)} → ${signed(said.difference)}`),
      h('dt', {}, term('accuracy')), h('dd', {}, percent(said.accuracy)),
      h('dt', {}, term('KL')), h('dd', {}, number(said.kl)));
    place.dataset.state = 'done';
  });
  let timer = 0;
  store.subscribe((_, changed) => {
    if (['base', 'hand', 'ablation', 'size', 'positive', 'negative'].some((n) => changed.has(n))) {
      place.dataset.state = 'old';
      clearTimeout(timer);
      timer = window.setTimeout(ask, PAUSE);
    }
  });
  engine.subscribe((presence) => {
    if (presence === 'there') {
      ask();
    }
  });
  return place;
}
