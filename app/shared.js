// What the page's scripts share, whatever tab they belong to: which parts are on the page, and news between them.
// For tests and the console it is window.__pf: __pf.viewer, __pf.all("painter"), __pf.bus.

class Page {
  constructor() {
    this.bus = new EventTarget();
    this.parts = [];
  }

  /** A part has been mounted; those that have left the page are forgotten. */
  add(kind, part) {
    this.parts = [...this.parts.filter((each) => each.part.root.isConnected), { kind, part }];
  }

  /** The parts of a kind that are on the page, oldest first. */
  all(kind) {
    return this.parts.filter((each) => each.kind === kind && each.part.root.isConnected).map((each) => each.part);
  }

  /** The part of a kind within the element of this selector. */
  within(kind, selector) {
    return this.all(kind).find((part) => part.root.closest(selector));
  }

  /** Call heard(detail) at each piece of news of this name. Returns what ends that. */
  on(name, heard) {
    const listener = (event) => heard(event.detail);
    this.bus.addEventListener(name, listener);
    return () => this.bus.removeEventListener(name, listener);
  }

  say(name, detail) {
    this.bus.dispatchEvent(new CustomEvent(name, { detail }));
  }

  // the oldest of each kind, by name

  get viewer() {
    return this.all("viewer")[0];
  }

  get plots() {
    return this.all("plots")[0];
  }

  get sweep() {
    return this.all("sweep")[0];
  }

  get look() {
    return this.all("look")[0];
  }

  get board() {
    return this.all("board")[0];
  }

  /** For Gradio's `js=`: the inputs with the first replaced by the outer step that the viewer within `selector` shows,
   * from 1; as given where no frame is shown. */
  withStep(selector, [first, ...rest]) {
    return [this.within("viewer", selector)?.outerStep ?? first, ...rest];
  }
}

const started = !window.__pf;
export const page = (window.__pf ||= new Page());

// Light or dark: a class of the body.
if (started) {
  const changed = () => page.say("theme");
  new MutationObserver(changed).observe(document.body, { attributes: true, attributeFilter: ["class"] });
}

/** A number's text for people, with the true minus sign. */
export const written = (v) => String(v).replace("-", "\u2212");

/** How the page scrolls by itself, for `behavior`: at once for who wants less motion. */
export const gliding = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");
