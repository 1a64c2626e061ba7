// The heading's other controls: the link past the tabs to the button that starts things, a link to copy, light or dark.

import { copyLink } from "./copylink.js";

import { mountDrawer } from "./drawer.js";
import { mountTabRow } from "./tabrow.js";

const KEPT = "patch-forcing-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

const kept = () => {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // a browser that keeps nothing
  }
};
const isDark = () => document.body.classList.contains("dark");

/** The shown tab's main button, or what there is to read in a tab without one. */
const main = () =>
  [...document.querySelectorAll("button.primary, .pf-dock-go")].find(
    (button) => button.checkVisibility({ visibilityProperty: true }) && !button.closest("dialog"),
  ) || [...document.querySelectorAll("article")].find((article) => article.offsetParent);

function skipLink(link) {
  const name = () => {
    const target = main();
    link.textContent = target?.matches("button")
      ? `Skip to \u201c${target.textContent.trim()}\u201d`
      : "Skip to the text";
  };
  link.addEventListener("focus", name);
  if (document.activeElement === link) name(); // somebody was faster than this script
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const target = main();
    if (target?.matches("article")) target.tabIndex = -1;
    target?.focus();
  });
}

/** Light or dark, kept for the next visit; before the first press, what the system asks for. An address with __theme wins. */
function themeSwitch(button) {
  const show = () => button.setAttribute("aria-checked", String(isDark()));
  const set = (dark) => {
    document.body.classList.toggle("dark", dark);
    show();
  };
  const again = () => {
    const asked = new URLSearchParams(location.search).get("__theme");
    if (kept() && !asked) set(kept() === "dark");
    else show();
  };
  button.addEventListener("click", () => {
    set(!isDark());
    try {
      localStorage.setItem(KEPT, isDark() ? "dark" : "light");
    } catch {
      /* then it holds for this visit */
    }
  });
  system.addEventListener("change", () => setTimeout(again)); // after Gradio's own answer to it
  again();
}

export function heading(root) {
  mountDrawer();
  mountTabRow();
  skipLink(root.querySelector(".pf-skip"));
  copyLink(root.querySelector(".pf-link"), root.querySelector(".pf-copied"));
  themeSwitch(root.querySelector(".pf-theme"));
}
