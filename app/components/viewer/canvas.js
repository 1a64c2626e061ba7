// Charts' canvases: sharp on any screen, in the page's own colours.

// Sizes of elements on the page, kept by an observer: asking the page while drawing would force a layout each time.
const sizes = new WeakMap();
const observer = new ResizeObserver((entries) => {
  for (const { target } of entries) sizes.set(target, [target.clientWidth, target.clientHeight]);
});

/** Width and height of an element in CSS pixels. */
export function sizeOf(element) {
  if (!sizes.has(element)) {
    sizes.set(element, [element.clientWidth, element.clientHeight]);
    observer.observe(element);
  }
  return sizes.get(element);
}

/** The element's size has just been changed by us: ask again. */
export function forget(element) {
  sizes.delete(element);
}

/** Fit the canvas to its place on the page. Returns its context in CSS pixels, cleared. */
export function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = sizeOf(canvas);
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

let cache = { dark: null };

/** Colours and fonts of the viewer as the style sheet has them now. */
export function theme(element) {
  const dark = document.body.classList.contains("dark");
  if (cache.dark !== dark) {
    const style = getComputedStyle(element.closest(".pf-viewer"));
    const get = (name) => style.getPropertyValue(name).trim();
    const font = style.fontFamily;
    cache = {
      dark,
      ink: get("--pfv-ink"),
      faint: get("--pfv-faint"),
      rule: get("--pfv-rule"),
      band: get("--pfv-band"),
      accent: get("--pfv-accent"),
      paper: get("--pfv-paper"),
      small: `11px ${font}`,
      text: `12px ${font}`,
    };
  }
  return cache;
}
