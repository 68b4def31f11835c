/**
 * Makes elements and texts. All text from outside goes into text nodes, so that it stays text.
 *
 * @typedef {Node|string|number|null|undefined|false} Child
 */

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] those that begin with "on" are listeners
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) {
      element.addEventListener(name.slice(2), value);
    } else if (value === true) {
      element.setAttribute(name, '');
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...children.filter((c) => c !== null && c !== undefined && c !== false)
    .map((c) => (c instanceof Node ? c : String(c))));
  return element;
}

/**
 * @param {number} n
 * @returns {string} 32,491
 */
export function count(n) {
  return n.toLocaleString('en');
}

/**
 * @param {number} n
 * @param {string} one
 * @returns {string} 1 edge, 2 edges
 */
export function counted(n, one) {
  return `${count(n)} ${one}${n === 1 ? '' : 's'}`;
}

/**
 * @param {number|null|undefined} x
 * @returns {string} three digits that matter, with a true minus sign
 */
export function number(x) {
  if (x === null || x === undefined || Number.isNaN(x)) {
    return '–';
  }
  if (!Number.isFinite(x)) {
    return x > 0 ? '∞' : '−∞';
  }
  const size = Math.abs(x);
  const text = x === 0 ? '0'
    : size >= 1000 ? count(Math.round(x))
    : size >= 0.001 ? x.toPrecision(3)
    : x.toExponential(1);
  return text.replace('-', '−').replace('e-', 'e−');
}

/**
 * @param {number|null|undefined} x
 * @returns {string} with its sign
 */
export function signed(x) {
  return (x && x > 0 ? '+' : '') + number(x);
}

/**
 * @param {number|null|undefined} share
 * @returns {string} 95.0 %
 */
export function percent(share) {
  return share === null || share === undefined || !Number.isFinite(share)
    ? '–' : `${(100 * share).toFixed(1).replace('-', '−')} %`;
}

/**
 * @param {string} token as Java shows it, in quotation marks
 * @returns {string} without them
 */
export function bare(token) {
  return token.length > 1 && token.startsWith("'") && token.endsWith("'")
    ? token.slice(1, -1) : token;
}

/**
 * @param {string} token as Java shows it
 * @returns {string} for sentences and labels: without quotation marks and blanks around
 */
export function plain(token) {
  return bare(token).trim() || token;
}
