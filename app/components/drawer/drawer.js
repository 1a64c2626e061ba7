// Narrow screens: what is shown comes first, the tab's form waits in a drawer, and its main button stands at the bottom.

const NARROW = matchMedia("(max-width: 800px)");
const FORMS = ".pf-controls, #compare-form";
const SAID = "[role=tabpanel] :is(.pf-said, .pf-chip) p";
const PAUSE = 120; // ms: the bar may follow a change of the page that late

const find = (selector, shown) => [...document.querySelectorAll(selector)].find(shown);
/** The shown tab's form; also while the drawer is closed. */
const form = () => find(FORMS, (each) => each.parentElement?.offsetParent);
/** Its main button; also in a closed drawer. */
const main = () => find("button.primary", (each) => each.offsetParent && !each.closest("dialog"));

class Drawer {
  constructor() {
    this.bar = document.createElement("div");
    this.bar.className = "pf-dock";
    this.bar.innerHTML = `<p class="pf-dock-said" role="status"></p><div><button type="button" class="pf-dock-form" aria-expanded="false">Settings</button>
      <button type="button" class="pf-dock-go"></button></div>`;
    this.shade = Object.assign(document.createElement("div"), { className: "pf-shade" });
    document.querySelector(".gradio-container").append(this.shade, this.bar);
    [this.said, this.toggle, this.go] = [".pf-dock-said", ".pf-dock-form", ".pf-dock-go"].map((selector) =>
      this.bar.querySelector(selector),
    );
    this.listen();
    this.draw();
  }

  listen() {
    this.toggle.addEventListener("click", () => this.set(!this.open));
    this.shade.addEventListener("click", () => this.set(false));
    this.go.addEventListener("click", () => {
      this.set(false);
      main()?.click();
    });
    document.addEventListener("click", (event) => {
      if (this.open && event.target.closest("button.primary, [role=tab]")) this.set(false);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.open) return;
      this.set(false);
      this.toggle.focus();
    });
    const seen = {
      childList: true,
      characterData: true,
      subtree: true,
      attributeFilter: ["class", "disabled", "style"],
    };
    new MutationObserver(() => this.soon()).observe(document.body, seen);
    NARROW.addEventListener("change", () => this.draw());
  }

  set(open) {
    if (open === Boolean(this.open)) return;
    this.open = open;
    document.body.classList.toggle("pf-drawn", open);
    this.toggle.setAttribute("aria-expanded", String(open));
    this.toggle.textContent = open ? "Close" : "Settings";
    if (open) form()?.querySelector("input, button, select")?.focus({ preventScroll: true });
  }

  soon() {
    if (!NARROW.matches) return;
    this.due ||= setTimeout(() => {
      this.due = 0;
      this.draw();
    }, PAUSE);
  }

  /** The bar says what the shown tab has: a form, a main button, and what its status lines would say. */
  draw() {
    if (!NARROW.matches) return this.set(false);
    const [shown, button] = [form(), main()];
    write(this.go, "textContent", button?.textContent.trim() || "");
    write(this.go, "hidden", !button);
    write(this.go, "disabled", Boolean(button?.disabled));
    this.go.classList.toggle("pf-working", Boolean(button?.classList.contains("pf-working")));
    write(this.toggle, "hidden", !shown);
    write(this.bar, "hidden", !shown && !button);
    const lines = [...document.querySelectorAll(SAID)].filter((line) => line.offsetParent && line.textContent.trim());
    write(this.said, "textContent", lines.map((line) => line.textContent.trim()).join(" "));
    if (!shown) this.set(false);
    return undefined;
  }
}

/** Only what differs: the bar is part of the page that it watches. */
function write(element, name, value) {
  if (element[name] !== value) element[name] = value;
}

let drawer = null;

export function mountDrawer() {
  drawer ||= new Drawer();
}
