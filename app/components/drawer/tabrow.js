// The row of tabs where it is wider than the screen: a mark at an edge says that there are more, and a tap goes there.

import { gliding } from "./shared.js";

const EDGE = 44; // px: as wide as a mark, under which no chosen tab may lie
const ROW = ".tab-wrapper .tab-container:not(.visually-hidden)";

const mark = (side) => {
  const button = Object.assign(document.createElement("button"), {
    type: "button",
    className: `pf-tabs-${side}`,
    tabIndex: -1, // by keyboard the tabs themselves are in reach
    hidden: true,
    textContent: side === "more" ? "\u203a" : "\u2039",
  });
  button.setAttribute("aria-hidden", "true");
  return button;
};

class TabRow {
  constructor(row) {
    this.row = row;
    [this.before, this.after] = [mark("back"), mark("more")];
    row.parentElement.append(this.before, this.after);
    row.parentElement.classList.add("pf-tabs");
    this.before.addEventListener("click", () => this.turn(-1));
    this.after.addEventListener("click", () => this.turn(1));
    row.addEventListener("scroll", () => this.mark(), { passive: true });
    new ResizeObserver(() => this.reveal()).observe(row);
    new MutationObserver(() => this.reveal()).observe(row, { subtree: true, childList: true, attributeFilter: ["class"] }); // prettier-ignore
    this.reveal();
  }

  turn(by) {
    this.row.scrollBy({ left: by * (this.row.clientWidth - 2 * EDGE), behavior: gliding() });
  }

  /** The chosen tab in sight. */
  reveal() {
    const { row } = this;
    const chosen = row.querySelector("[aria-selected=true]");
    if (chosen) {
      const left = chosen.offsetLeft - row.offsetLeft;
      const far = left + chosen.offsetWidth + EDGE - row.clientWidth;
      if (row.scrollLeft < far) row.scrollLeft = far;
      else if (row.scrollLeft > left - EDGE) row.scrollLeft = Math.max(0, left - EDGE);
    }
    this.mark();
  }

  mark() {
    const { scrollLeft, scrollWidth, clientWidth } = this.row;
    this.before.hidden = scrollLeft < 2;
    this.after.hidden = scrollLeft > scrollWidth - clientWidth - 2;
  }
}

let mounted = null;

export function mountTabRow() {
  const row = document.querySelector(ROW);
  if (row) mounted ||= new TabRow(row);
  else setTimeout(mountTabRow, 100);
}
