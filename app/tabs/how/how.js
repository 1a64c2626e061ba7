// The page "How it works": mounts a miniature in every element with data-mini.

import { changes } from "./changes.js";
import { context } from "./context.js";
import { floats } from "./draw.js";
import { loadPalettes } from "./colours.js";
import { times } from "./times.js";

const MINIATURES = { times, context, changes };

export async function mount(element) {
  const boxes = [...element.querySelectorAll("[data-mini]")];
  const [reply, palettes] = await Promise.all([fetch(new URL("pf/how", document.baseURI)), loadPalettes()]);
  const content = await reply.json();
  if (!reply.ok) throw new Error(content.error);
  if (!content.networks) {
    boxes.forEach((box) => {
      box.textContent = "There is no network here yet, so this picture stays empty.";
    });
    return;
  }
  Object.assign(content, { x0: floats(content.x0), x1: floats(content.x1) });
  for (const box of boxes) await MINIATURES[box.dataset.mini](box, content, palettes);
  element.dataset.ready = "1";
}
