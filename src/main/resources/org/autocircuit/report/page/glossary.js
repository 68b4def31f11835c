import { h } from './text.js';

/** Words of the page that not everybody knows, each explained where it stands. */

/** @type {Record<string, string>} */
const WORDS = {
  edge: 'What one node of the model gives to the input of a later one. A0.1 → A4.1.V is what head'
    + ' 1 of block 0 gives to the values of head 1 of block 4.',
  circuit: 'A set of edges that is enough for a behaviour. Here: those with the greatest absolute'
    + ' scores. To test it, all other edges are patched.',
  patched: 'To patch an edge is to replace what it carries by what the same source gave on another'
    + ' input, such as the corrupt prompt. All else stays.',
  score: 'How much an edge matters for the task, by the method that the page names.',
  'standard error': 'How far the score, a mean over prompts, would lie from that over many more'
    + ' such prompts. Beyond two of them it is hardly chance.',
  threshold: 'The least absolute score of an edge in the circuit.',
  recovered: 'What the circuit alone does on a scale from what no edge does (0 %) to what the whole'
    + ' model does (100 %); also called faithfulness.',
  CPR: 'Circuit performance ratio: the area under the share recovered, over circuits of 0.1 % to all'
    + ' of the edges. 1 is as much as the model at every size; the more, the better.',
  CMD: 'Circuit-model distance: the area between the share recovered and that of the model, over the'
    + ' same sizes. 0 is like the model at every size; the less, the better.',
  'logit difference': 'The logit of the right answer less that of the wrong answers. Above 0 the'
    + ' right one is the more probable.',
  KL: 'Kullback–Leibler divergence: how far the predictions of the circuit are from those of the'
    + ' model, in nats. 0 is equal.',
  accuracy: 'The share of prompts after which the right answer is the most probable token.',
  random: 'Circuits of as many edges drawn by lot: what is above them is no accident of size.',
  'same degrees': 'Random circuits in which each node has as many edges as in the circuit: what is'
    + ' above them is no accident of busy nodes.',
  'weight norms': 'Circuits of the edges whose weights could pass on the most, whatever the prompts:'
    + ' what is above them has to do with the task.',
  'on a path': 'An edge does something only if edges of the circuit lead from the input of the'
    + ' model to it, and from it to the output.',
  'exact effect': 'What patching this edge alone really did: the loss with the edge patched less'
    + ' that of the model, a mean over prompts.',
  head: 'Attention head: a part of a block that reads earlier tokens by queries and keys (Q, K),'
    + ' and writes what it found there (V) to the residual stream.',
  MLP: 'The part of a block that works on each token by itself.',
  'residual stream': 'The sum of all that the embedding, heads and MLPs have written so far; every'
    + ' node reads from it and adds to it.',
  denoising: 'The model runs on the corrupt prompt, and what it computed at one place on the clean'
    + ' prompt is put in: does the answer come back?',
  noising: 'The model runs on the clean prompt, and what it computed at one place on the corrupt'
    + ' prompt is put in: does the answer get lost?',
  'clean prompt': 'A prompt that calls for the behaviour.',
  'corrupt prompt': 'Its counterpart, which differs only in what decides the answer.',
};

/**
 * @param {keyof typeof WORDS} word
 * @param {string} [text] as it stands in the sentence, the word itself if left out
 * @returns {HTMLElement} the word; its meaning shows on hover, on focus and on touch
 */
export function term(word, text = word) {
  return h('button', { class: 'term', type: 'button', 'data-tip': WORDS[word] }, text);
}

/** @returns {HTMLElement} all words with their meanings */
export function glossary() {
  return h('dl', { class: 'glossary' }, ...Object.entries(WORDS).flatMap(
    ([word, meaning]) => [h('dt', {}, word), h('dd', {}, meaning)]));
}

/**
 * Shows what elements with data-tip say, near them, for pointers and for the keyboard.
 *
 * @param {HTMLElement} root
 */
export function installTips(root) {
  const tip = h('div', { class: 'tip', role: 'tooltip', id: 'tip', hidden: true });
  (root.querySelector('main') ?? root).append(tip);
  /** @type {Element|null} */
  let owner = null;
  const hide = () => {
    owner?.removeAttribute('aria-describedby');
    owner = null;
    tip.hidden = true;
  };
  /** @param {Event} event */
  const show = (event) => {
    const target = event.target instanceof Element ? event.target.closest('[data-tip]') : null;
    if (target === owner) {
      return;
    }
    hide();
    if (!target) {
      return;
    }
    owner = target;
    tip.textContent = target.getAttribute('data-tip');
    tip.hidden = false;
    if (target instanceof HTMLElement) {
      target.setAttribute('aria-describedby', 'tip');
    }
    const box = target.getBoundingClientRect();
    const x = event instanceof MouseEvent && event.clientX ? event.clientX : box.left;
    const y = event instanceof MouseEvent && event.clientY ? event.clientY : box.bottom;
    const left = Math.min(x + 12, innerWidth - tip.offsetWidth - 12);
    const below = y + 16 + tip.offsetHeight < innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? y + 14 : Math.max(8, y - tip.offsetHeight - 10)}px`;
  };
  for (const type of ['pointerover', 'focusin', 'click']) {
    root.addEventListener(type, show);
  }
  root.addEventListener('focusout', hide);
  addEventListener('scroll', hide, { capture: true, passive: true });
  addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      hide();
    }
  });
}
