// The page "How it works": mounts a miniature in every element with data-mini.

import { changes } from "./changes.js";
import { context } from "./context.js";
import { densities } from "./densities.js";
import { floats, motionButton } from "./draw.js";
import { findings } from "./findings.js";
import { loadPalettes } from "./colours.js";
import { overview } from "./overview.js";
import { schedules } from "./schedules.js";
import { RunData } from "./store.js";
import { times } from "./times.js";

const MINIATURES = { overview, times, densities, context, findings, schedules, changes };
const ALONE = ["densities", "findings", "schedules"]; // need no network

export async function mount(element) {
  const boxes = [...element.querySelectorAll("[data-mini]")];
  const [reply, palettes] = await Promise.all([fetch(new URL("pf/how", document.baseURI)), loadPalettes()]);
  const content = await reply.json();
  if (!reply.ok) throw new Error(content.error);
  motionButton(element.querySelector(".pfg"), element.querySelector(".pfg-moves"));
  if (content.networks) Object.assign(content, { x0: floats(content.x0), x1: floats(content.x1) });
  content.run = recorded(content.recording);
  const drawn = boxes.map((box) => {
    const name = box.dataset.mini;
    if (content.networks || ALONE.includes(name)) return MINIATURES[name](box, content, palettes);
    box.textContent = "There is no network here yet, so this picture stays empty.";
    return null;
  });
  await Promise.all(drawn);
  element.dataset.ready = "1";
}

/** The recorded run with all its frames, null where none is shipped. */
async function recorded(id) {
  if (!id) return null;
  const run = new RunData({ id, label: "" });
  await run.follow(() => {});
  return run.frames.length ? run : null;
}
