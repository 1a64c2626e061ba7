// Exports of the runs that are shown, and the command line that repeats them; slides.js has the pictures and films.

const NAMES = { safetensors: "raw arrays", json: "recipe" };
const HINTS = {
  safetensors: "Every forward pass as arrays, recipe inside: loads back without being computed again",
  json: "The recipe alone: for Load recipe, or sample --recipe",
};

/** One link a format and run. They are fetched by script, so that a refusal is a sentence here and no broken file. */
export function listExports(viewer) {
  const several = viewer.runs.length > 1;
  viewer.find(".pfv-exports").replaceChildren(
    ...viewer.runs.flatMap((run) =>
      (run.status.exports || [])
        .filter((format) => NAMES[format])
        .map((format, k) => {
          const link = document.createElement("a");
          link.href = run.address(`/export?format=${format}`);
          link.textContent = (several && k === 0 ? `${run.label}: ` : "") + NAMES[format];
          link.title = HINTS[format];
          link.download = run.meta?.files[format] || "";
          link.addEventListener("click", (event) => {
            event.preventDefault();
            save(viewer, link);
          });
          return link;
        }),
    ),
  );
}

async function save(viewer, { href, download }) {
  say(viewer, `Making ${download} \u2026`);
  try {
    const reply = await fetch(href);
    if (!reply.ok) return say(viewer, (await reply.json()).error);
    hand(await reply.blob(), download);
    say(viewer, "");
  } catch {
    say(viewer, "The download failed: is the app still running?");
  }
}

export async function copyCommand(viewer) {
  const known = viewer.runs.map((run) => run.meta).filter(Boolean);
  const text = known.map((meta) => meta.command).join("\n");
  const files = known.map((meta) => meta.recipe_file).filter(Boolean);
  try {
    await navigator.clipboard.writeText(text);
    say(viewer, "Copied.", files);
  } catch {
    window.prompt("Copy the command:", text);
    say(viewer, "", files);
  }
}

/** What the command needs beside it is named until the next press. */
function say(viewer, text, files = []) {
  const place = viewer.find(".pfv-note");
  const needs = files.length
    ? `It reads ${files.join(" and ")}: download ${files.length > 1 ? "them" : "it"} on the right first.`
    : "";
  place.textContent = [text, needs].filter(Boolean).join(" ");
  clearTimeout(viewer.quiet);
  if (text && !needs)
    viewer.quiet = setTimeout(() => {
      place.textContent = "";
    }, 6000);
}

/** Give a file to the browser's downloads. */
export function hand(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
