// What a form says at once: that a button was pressed, and, at its field, why a number will not do. An error leaves as
// soon as something is mended. The server checks everything again.

import { page } from "./shared.js";

const AGAIN = 400; // ms between looks at a field that is wrong: its value may be set from elsewhere
const PATIENCE = 120_000; // ms after which a button is free again whatever happened
const NUMBER = ".gradio-container input[type=number]";
const wrong = new Map(); // field -> the paragraph that says why
let pressed = false; // a pointer is down

/** Why a number will not do; "" where it will. */
export function whyNot({ value, min, max, badInput }) {
  if (badInput) return "This is not a number.";
  if (value === "") return "Give a number.";
  const number = Number(value);
  const bounds = [min, max].map((end) => (end === "" || end === null || end === undefined ? null : Number(end)));
  const [low, high] = bounds;
  const outside = (low !== null && number < low) || (high !== null && number > high);
  if (!outside) return "";
  const [from, to] = bounds.map((end) => end?.toLocaleString("en"));
  if (low === null) return `At most ${to}.`;
  if (high === null) return `At least ${from}.`;
  return `From ${from} to ${to}.`;
}

const reason = (field) =>
  whyNot({ value: field.value, min: field.min, max: field.max, badInput: field.validity.badInput });

function check(field) {
  const text = field.disabled || !field.offsetParent ? "" : reason(field);
  if (text) mark(field, text);
  else clear(field);
}

function mark(field, text) {
  let says = wrong.get(field);
  if (!says) {
    says = document.createElement("p");
    says.className = "pf-wrong";
    says.id = `pf-wrong-${performance.now().toString(36).replace(".", "")}`;
    says.setAttribute("role", "alert");
    (field.closest(".block") ?? field.parentElement).append(says);
    wrong.set(field, says);
    if (wrong.size === 1) look();
  }
  if (says.textContent !== text) says.textContent = text;
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", says.id);
}

function clear(field) {
  wrong.get(field)?.remove();
  wrong.delete(field);
  field.removeAttribute("aria-invalid");
  field.removeAttribute("aria-describedby");
}

function look() {
  for (const field of wrong.keys()) {
    if (!field.isConnected || !field.matches(NUMBER)) clear(field);
    else check(field);
  }
  if (wrong.size) setTimeout(look, AGAIN);
}

/** Something was changed: what the tab called wrong may be mended. */
function mended({ target }) {
  if (target.closest?.(".pf-viewer") || !target.matches?.("input, textarea, select, [role=option]")) return;
  for (const error of target.closest("[role=tabpanel]")?.querySelectorAll(".pf-error") ?? []) error.hidden = true;
}

function busy(id, is) {
  const button = document.getElementById(id);
  if (!button) return;
  button.classList.toggle("pf-working", is);
  button.setAttribute("aria-busy", String(is));
  clearTimeout(button.pfFree);
  if (is) button.pfFree = setTimeout(() => busy(id, false), PATIENCE);
}

/** Call once no pointer is down: a line that appears under a pressed button would move it away from the click. */
function released(call) {
  if (!pressed) call();
  else document.addEventListener("pointerup", () => setTimeout(call), { once: true });
}

export function fields() {
  document.addEventListener("pointerdown", () => (pressed = true), true);
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, () => (pressed = false), true);
  document.addEventListener("change", (event) => event.target.matches?.(NUMBER) && released(() => check(event.target)));
  document.addEventListener("input", (event) => wrong.has(event.target) && check(event.target));
  for (const name of ["input", "change", "pointerdown"]) document.addEventListener(name, mended);
  page.on("busy", (news) => busy(news.id, news.busy));
}
