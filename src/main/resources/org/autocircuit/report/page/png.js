/**
 * Saves the picture as a PNG image, as it looks now.
 */

const STYLES = ['fill', 'fill-opacity', 'stroke', 'stroke-opacity', 'stroke-dasharray', 'opacity',
  'font-size', 'font-family', 'font-weight'];
/** Browsers refuse larger ones. */
const MOST_PIXELS = 16_000_000;

/** @param {import('./main.js').Page} page */
export async function savePicture(page) {
  const svg = /** @type {SVGSVGElement} */ (/** @type {unknown} */ (
    document.getElementById('graph')));
  const copy = /** @type {SVGSVGElement} */ (svg.cloneNode(true));
  const originals = svg.querySelectorAll('*');
  copy.querySelectorAll('*').forEach((element, i) => {
    const style = getComputedStyle(originals[i]);
    STYLES.forEach((name) => element.setAttribute(name, style.getPropertyValue(name)));
  });
  copy.querySelectorAll('.hit').forEach((element) => element.remove());
  const { width, height } = svg.viewBox.baseVal;
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  copy.setAttribute('width', String(width));
  copy.setAttribute('height', String(height));
  const scale = Math.min(2, Math.sqrt(MOST_PIXELS / (width * height)));
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${
    encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.fillStyle = getComputedStyle(document.body).backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => {
    if (blob) {
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = `circuit-${page.store.state.size}-edges.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    }
  });
}
