// "Copy link": the address of what is seen, into the clipboard; where the browser forbids that, a field to copy from.

import { address } from "./address.js";
import { page } from "./shared.js";

const WHILE = 4000; // ms that "copied" stands

export function copyLink(button, said) {
  let quiet = null;
  const say = (...content) => {
    clearTimeout(quiet);
    said.replaceChildren(...content);
  };
  button.addEventListener("click", async () => {
    const link = address.link();
    try {
      await navigator.clipboard.writeText(link);
      say("Link copied.");
      quiet = setTimeout(say, WHILE);
    } catch {
      offer(link, say);
    }
  });
  page.on("address", () => said.querySelector("input") && say()); // what it offers is not what is seen any more
}

function offer(link, say) {
  const field = document.createElement("input");
  Object.assign(field, { type: "text", readOnly: true, value: link, ariaLabel: "Link to what is shown" });
  const close = document.createElement("button");
  Object.assign(close, { type: "button", textContent: "Close" });
  close.addEventListener("click", () => say());
  say("The browser does not let the page copy: press Ctrl+C. ", field, close);
  field.addEventListener("keydown", (event) => event.key === "Escape" && say());
  field.focus();
  field.select();
}
