import { h } from './text.js';

/**
 * Makes the button that chooses light or dark colours.
 *
 * @param {import('./state.js').Store<any>} store of a state with a theme: auto, light or dark
 * @returns {HTMLElement}
 */
export function themeButton(store) {
  const next = /** @type {Record<string, string>} */ ({ auto: 'dark', dark: 'light', light: 'auto' });
  const button = h('button', { type: 'button', id: 'theme',
    onclick: () => store.set({ theme: next[store.state.theme] ?? 'auto' }) });
  store.subscribe((state) => {
    document.documentElement.dataset.theme = state.theme;
    button.textContent = `Colours: ${state.theme}`;
  });
  return button;
}
