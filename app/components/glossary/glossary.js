// Terms explained where they stand. The table comes from the server (glossary.py); here they are found and marked.

const WHOLE =
  "[data-testid=block-info], .pfv-panels figcaption b, .pfv-pair figcaption b, .pfv-legend > span, .pfi-maps figcaption, .prose h4";
const LINES = ".pfv-state, .pfv-about, .pfg-lead, .pfe-lead, .pfe-verdict";
const PAUSE = 250; // ms: marks may follow a change of the page that late
const LINGER = 200; // ms: time to move the pointer from a word to its explanation

export function mount(element, props) {
  new Glossary(element.querySelector(".pf-glossary"), props.value);
}

class Glossary {
  constructor(root, terms) {
    this.terms = terms;
    this.byLabel = new Map();
    const words = [];
    for (const [key, { text, labels, words: own }] of Object.entries(terms)) {
      const described = Object.assign(document.createElement("p"), { id: `pf-term-${key}`, textContent: text });
      root.append(described);
      for (const label of labels) this.byLabel.set(label, key);
      for (const word of own) words.push([word, key]);
    }
    this.byWord = new Map(words);
    const any = words.map(([word]) => word).sort((a, b) => b.length - a.length);
    this.pattern = new RegExp(`(?<![\\w-])(${any.join("|")})(?![\\w-])`);
    this.tip = Object.assign(document.createElement("div"), { className: "pf-tip", hidden: true });
    this.tip.setAttribute("aria-hidden", "true"); // what is read aloud is the hidden text that aria-describedby names
    document.body.append(this.tip);
    this.listen();
    this.scan();
    new MutationObserver(() => this.soon()).observe(document.body, {
      childList: true,
      characterData: true,
      subtree: true,
    });
  }

  // marks

  soon() {
    this.due ||= setTimeout(() => {
      this.due = 0;
      this.scan();
    }, PAUSE);
  }

  scan() {
    for (const element of document.querySelectorAll(WHOLE)) this.markWhole(element);
    for (const line of document.querySelectorAll(LINES)) this.markWords(line);
    if (this.at && !this.at.isConnected) this.hide();
  }

  markWhole(element) {
    const key = this.byLabel.get(element.textContent.trim());
    if (element.dataset.term === key) return;
    if (key) mark(element, key);
    else unmark(element);
  }

  /** The words of a line, each once. */
  markWords(line) {
    const marked = new Set([...line.querySelectorAll("[data-term]")].map((each) => each.dataset.term));
    for (const node of [...line.childNodes].filter((each) => each.nodeType === Node.TEXT_NODE)) {
      let rest = node;
      for (let match; (match = this.pattern.exec(rest.data));) {
        const word = rest.splitText(match.index);
        rest = word.splitText(match[0].length);
        const key = this.byWord.get(match[0]);
        if (marked.has(key)) continue;
        marked.add(key);
        const span = document.createElement("span");
        word.replaceWith(span);
        span.append(word);
        mark(span, key);
      }
    }
  }

  // the explanation

  listen() {
    const term = (event) => event.target.closest?.("[data-term]");
    let at = ""; // where the pointer is: a word that is scrolled under it was not pointed at
    const place = (event) => `${event.screenX} ${event.screenY}`;
    document.addEventListener("pointermove", (event) => (at = place(event)), { passive: true });
    document.addEventListener("pointerover", (event) => {
      if (event.pointerType === "touch" || place(event) === at) return;
      if (term(event)) this.show(term(event));
      else if (this.tip.contains(event.target)) this.stay();
      else if (this.at && !this.leaving && !this.at.matches(":focus-visible"))
        this.leaving = setTimeout(() => this.hide(), LINGER);
    });
    document.addEventListener("focusin", (event) => term(event)?.matches(":focus-visible") && this.show(term(event)));
    document.addEventListener("focusout", (event) => term(event) && this.hide());
    document.addEventListener("click", (event) => {
      if (!term(event)) return;
      event.preventDefault(); // the label's control keeps still
      this.show(term(event));
    });
    document.addEventListener("pointerdown", (event) => {
      if (this.at && !term(event) && !this.tip.contains(event.target)) this.hide();
    });
    document.addEventListener(
      "keydown",
      (event) => {
        if (event.key !== "Escape" || !this.at) return;
        event.stopPropagation(); // one thing at a time: the held patch stays held
        this.hide();
      },
      true,
    );
    addEventListener("scroll", () => this.at && this.place(), { passive: true, capture: true });
  }

  stay() {
    clearTimeout(this.leaving);
    this.leaving = 0;
  }

  show(element) {
    this.stay();
    this.at = element;
    const { name, text } = this.terms[element.dataset.term];
    const head = Object.assign(document.createElement("b"), { textContent: name });
    this.tip.replaceChildren(head, document.createTextNode(text));
    this.tip.hidden = false;
    this.place();
  }

  hide() {
    this.stay();
    this.at = null;
    this.tip.hidden = true;
  }

  /** Below the word, or above it where there is no room. */
  place() {
    const box = this.at.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.tip;
    const under = box.bottom + 8 + height < innerHeight || box.top < height + 8;
    const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - width - 8));
    this.tip.style.transform = `translate(${left}px, ${under ? box.bottom + 8 : box.top - height - 8}px)`;
  }
}

function mark(element, key) {
  element.dataset.term = key;
  element.setAttribute("aria-describedby", `pf-term-${key}`);
  // one stop a term for the Tab key: side by side, the first run's; of a wall of cards, the first one's
  const [first] = element.closest(".pfe")?.querySelectorAll(`[data-term="${key}"]`) ?? [element];
  element.tabIndex = element !== first || element.closest(".pfv-run:not(:first-child)") ? -1 : 0;
}

function unmark(element) {
  delete element.dataset.term;
  element.removeAttribute("aria-describedby");
  element.removeAttribute("tabindex");
}
