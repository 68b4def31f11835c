import { bare, h, percent, plain } from './text.js';

/** Shows where a head looks on a prompt. */

const CELL = 15;
const LABEL = 74;
const LONGEST = 9;
const NAMED = 3;
/** Weights below a hundredth are not named. */
const LEAST = 3;

/**
 * @param {import('./main.js').Page} page
 * @param {string} head
 * @returns {HTMLElement[]} nothing where the page does not know
 */
export function attentionView({ data, store }, head) {
  const rows = data.prompts?.rows ?? [];
  const known = data.attention.filter(({ heads, prompt }) => heads.has(head) && rows[prompt]);
  if (!known.length) {
    return [];
  }
  const place = h('div');
  const select = /** @type {HTMLSelectElement} */ (h('select', {
    id: 'pattern', 'aria-label': 'Prompt',
    onchange: () => {
      store.set({ prompt: Number(select.value) });
      draw(Number(select.value));
    },
  }, ...known.map(({ prompt }, i) => h('option', { value: i },
    `prompt ${prompt + 1}: ${rows[prompt].clean.map(bare).join('')}`))));

  /** @param {number} i */
  function draw(i) {
    const { prompt, heads } = known[i];
    const words = rows[prompt].clean.map(plain);
    const weights = /** @type {Uint8Array[]} */ (heads.get(head));
    place.replaceChildren(...pattern(head, words, weights));
  }
  select.value = String(Math.min(Math.max(store.state.prompt, 0), known.length - 1));
  draw(Number(select.value));
  return [h('h3', {}, 'Where it looks'), select, place];
}

/**
 * @param {string} head
 * @param {string[]} words
 * @param {Uint8Array[]} weights by query and key, 255 for all
 * @returns {HTMLElement[]}
 */
function pattern(head, words, weights) {
  const n = words.length;
  const last = [...weights[n - 1].keys()].sort((a, b) => weights[n - 1][b] - weights[n - 1][a])
    .slice(0, NAMED).filter((key) => weights[n - 1][key] >= LEAST).map((key) => `${words[key]} ${percent(weights[n - 1][key] / 255)}`).join(', ');
  const svg = d3.create('svg').attr('class', 'attention').attr('width', LABEL + n * CELL + 4)
    .attr('height', LABEL + n * CELL + 4).attr('role', 'img')
    .attr('aria-label', `Attention of ${head}; the last token looks at ${last}`);
  const short = (/** @type {string} */ word) => (word.length > LONGEST
    ? `${word.slice(0, LONGEST - 1)}…` : word);
  words.forEach((word, i) => {
    const at = LABEL + i * CELL;
    svg.append('text').attr('x', LABEL - 4).attr('y', at + CELL - 4).attr('text-anchor', 'end')
      .text(short(word));
    svg.append('text').attr('transform', `translate(${at + CELL - 4},${LABEL - 4})rotate(-90)`)
      .text(short(word));
    for (let key = 0; key <= i; key++) {
      svg.append('rect').attr('x', LABEL + key * CELL).attr('y', at).attr('width', CELL)
        .attr('height', CELL).attr('fill-opacity', weights[i][key] / 255)
        .attr('data-tip', `${word} (${i}) looks at ${words[key]} (${key}): ${
          percent(weights[i][key] / 255)}`);
    }
  });
  return [
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Attention' },
      /** @type {SVGSVGElement} */ (svg.node())),
    h('p', { class: 'note' }, `A row for each token that looks, a column for each that is looked at.`
      + ` The last one looks at ${last}.`),
  ];
}
