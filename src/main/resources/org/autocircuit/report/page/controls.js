import { edgeName, sizeAtThreshold, thresholdAtSize } from './data.js';
import { term } from './glossary.js';
import { MOST_NODES } from './graph.js';
import { savePicture } from './png.js';
import { count, counted, h, number, percent } from './text.js';

/** Makes what a person sets: the size of the circuit, a search, what is drawn. */

const STEPS = 1000;
const MOST_FOUND = 12;
export const MOST_ZOOM = 3;

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
export function controlsView(page) {
  return h('div', { class: 'controls', role: 'group', 'aria-label': 'What is shown' },
    sizeControls(page), search(page), switches(page));
}

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
function sizeControls(page) {
  const { method, store, data } = page;
  const most = method.order.length;
  const scale = d3.scaleSymlog().domain([0, most]).range([0, STEPS]);
  /** @param {number} size */
  const set = (size) => store.set({ size: Math.max(0, Math.min(most, Math.round(size) || 0)) });
  const slider = /** @type {HTMLInputElement} */ (h('input', {
    type: 'range', min: 0, max: STEPS, step: 'any', id: 'size', 'aria-label': 'Edges in the circuit',
    oninput: () => set(scale.invert(Number(slider.value))),
    // One edge at a time, so that keys reach every size.
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      /** @type {Record<string, number>} */
      const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
      const pages = { PageUp: 1.25, PageDown: 0.8 };
      if (event.key in steps) {
        event.preventDefault();
        set(store.state.size + steps[event.key]);
      } else if (event.key in pages) {
        event.preventDefault();
        set(store.state.size * pages[/** @type {keyof typeof pages} */ (event.key)]);
      }
    },
  }));
  const size = /** @type {HTMLInputElement} */ (h('input', {
    type: 'number', min: 0, max: most, id: 'edges', 'aria-label': 'Number of edges',
    onchange: () => set(Number(size.value)),
  }));
  const threshold = /** @type {HTMLInputElement} */ (h('input', {
    type: 'text', inputmode: 'decimal', id: 'threshold', 'aria-label': 'Threshold of scores',
    onchange: () => {
      const value = Number(threshold.value.replace('−', '-'));
      if (threshold.value.trim() && Number.isFinite(value)) {
        set(sizeAtThreshold(method, value));
      }
      show();
    },
  }));
  const share = h('span', { class: 'share' });
  const show = () => {
    const now = store.state.size;
    slider.value = String(scale(now));
    slider.setAttribute('aria-valuetext', counted(now, 'edge'));
    size.value = String(now);
    threshold.value = number(thresholdAtSize(method, now));
    share.textContent = `of ${count(data.edges)}, ${smallPercent(now / data.edges)}`;
  };
  store.subscribe((_, changed) => {
    if (changed.has('size')) {
      show();
    }
  });
  const { smallest } = data;
  return h('div', { class: 'size' },
    h('div', { class: 'line' }, slider),
    h('div', { class: 'line' },
      h('label', {}, size, ' edges'), ' ', share,
      h('span', {}, ' ', term('threshold'), ' ', threshold)),
    smallest ? h('div', { class: 'line' }, h('button', {
      type: 'button', id: 'smallest', onclick: () => set(smallest.edges),
    }, `The smallest circuit that recovers ${Math.round(100 * smallest.share)} %: ${
      counted(smallest.edges, 'edge')}`), smallest.tested !== null
      ? h('span', { class: 'share' }, ` ${percent(smallest.tested)} on held-out prompts`) : null)
      : null);
}

/**
 * @param {number} share
 * @returns {string} in percent, with a digit that is not 0
 */
function smallPercent(share) {
  return share > 0 && share < 0.0005 ? `${(100 * share).toPrecision(1)} %` : percent(share);
}

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
function search(page) {
  const { data, units, method, store } = page;
  const results = h('ul', { class: 'results', id: 'results', 'aria-label': 'Found' });
  const input = /** @type {HTMLInputElement} */ (h('input', {
    type: 'search', id: 'search', placeholder: 'Find A0.1, MLP 2, A0.1 -> MLP 2',
    'aria-label': 'Find a node or an edge', autocomplete: 'off',
    oninput: () => find(),
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === 'Enter') {
        results.querySelector('button')?.click();
      } else if (event.key === 'Escape') {
        input.value = '';
        find();
      } else if (event.key === 'ArrowDown') {
        event.preventDefault();
        results.querySelector('button')?.focus();
      }
    },
  }));
  const names = units.units.map((unit) => unit.name.toLowerCase());

  /** @returns {{text: string, choose: () => void}[]} */
  function matches() {
    const query = input.value.toLowerCase().trim();
    if (!query) {
      return [];
    }
    const ends = query.split(/\s*(?:->|→)\s*/);
    if (ends.length > 1) {
      return edges(ends[0], ends[1]);
    }
    const found = names.map((name, u) => ({ u, place: name.indexOf(query) }))
      .filter(({ place }) => place >= 0)
      .sort((a, b) => a.place - b.place || names[a.u].length - names[b.u].length || a.u - b.u);
    return found.slice(0, MOST_FOUND).map(({ u }) => ({
      text: units.units[u].name,
      choose: () => store.set({ node: units.units[u].name, edge: -1 }),
    }));
  }

  /**
   * @param {string} from
   * @param {string} to
   */
  function edges(from, to) {
    const found = [];
    for (const edge of method.order) {
      const [src, dest] = edgeName(data, edge).toLowerCase().split(' → ');
      if (src.includes(from) && dest.includes(to)) {
        found.push({ text: edgeName(data, edge), choose: () => store.set({ edge, node: '' }) });
      }
      if (found.length === MOST_FOUND) {
        break;
      }
    }
    return found;
  }

  function find() {
    const found = matches();
    results.replaceChildren(...found.map(({ text, choose }) => h('li', {}, h('button', {
      type: 'button',
      onclick: () => {
        choose();
        results.replaceChildren();
        input.value = '';
      },
    }, text))), ...(input.value.trim() && !found.length ? [h('li', { class: 'note' },
      'Nothing is called so.')] : []));
  }
  results.addEventListener('keydown', (event) => {
    const here = document.activeElement?.closest('li');
    const next = event.key === 'ArrowDown' ? here?.nextElementSibling
      : event.key === 'ArrowUp' ? here?.previousElementSibling : null;
    if (next) {
      event.preventDefault();
      next.querySelector('button')?.focus();
    } else if (event.key === 'Escape' || event.key === 'ArrowUp') {
      input.focus();
    }
  });
  return h('div', { class: 'search' }, input, results);
}

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
function switches(page) {
  const { store, data, units } = page;
  /**
   * @param {'all'|'positive'|'negative'} name
   * @param {string} text
   */
  const box = (name, text) => {
    const input = /** @type {HTMLInputElement} */ (h('input', {
      type: 'checkbox', id: name, onchange: () => store.set({ [name]: input.checked }),
    }));
    const label = h('label', {}, input, ` ${text}`);
    store.subscribe((state) => {
      input.checked = state[name];
      // Circuits are compared as they are.
      label.hidden = name !== 'all' && state.other > 0;
    });
    return label;
  };
  const zoom = (/** @type {number} */ factor) => store.set({
    zoom: Math.min(MOST_ZOOM, Math.max(1, store.state.zoom * factor)),
  });
  const positions = data.positions ? positionChoice(page) : null;
  const others = data.methods.length > 1 ? otherChoice(page) : null;
  return h('div', { class: 'switches' },
    page.signed ? box('positive', 'for the answer') : null,
    page.signed ? box('negative', 'against it') : null,
    units.units.length <= MOST_NODES ? box('all', 'all nodes') : null,
    positions, others,
    h('button', { type: 'button', 'aria-label': 'Larger', onclick: () => zoom(1.25) }, '+'),
    h('button', { type: 'button', 'aria-label': 'Smaller', onclick: () => zoom(0.8) }, '−'),
    h('button', { type: 'button', id: 'png', onclick: () => savePicture(page) }, 'Save as PNG'));
}

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
function positionChoice(page) {
  const { data, store } = page;
  const select = /** @type {HTMLSelectElement} */ (h('select', {
    id: 'position', 'aria-label': 'Token position',
    onchange: () => store.set({ position: Number(select.value) }),
  }, h('option', { value: -1 }, 'all positions'),
  ...Array.from({ length: data.positions }, (_, p) => h('option', { value: p },
    `${p} ${data.words[p] ?? ''}`))));
  store.subscribe((state) => { select.value = String(state.position); });
  return select;
}

/**
 * @param {import('./main.js').Page} page
 * @returns {HTMLElement}
 */
function otherChoice(page) {
  const { data, store } = page;
  const select = /** @type {HTMLSelectElement} */ (h('select', {
    id: 'other', 'aria-label': 'Compare with',
    onchange: () => store.set({ other: Number(select.value) }),
  }, h('option', { value: 0 }, 'compare with nothing'), ...data.methods.slice(1).map(
    (method, i) => h('option', { value: i + 1 }, `compare with ${method.name}`))));
  store.subscribe((state) => { select.value = String(state.other); });
  return select;
}
