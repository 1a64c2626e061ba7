// Under a run's pictures: what a judge reads in the results, letters of signs or toys of scenes, those that are wrong marked.

const AGAIN = 2000; // ms
const NONE = {
  done: "The result is being read.",
  stopped: "Nothing is read: this run was stopped before it had a result.",
  failed: "Nothing is read: this run failed before it had a result.",
};

/** One line an image that is shown; asked of the server once a run, when it has ended. */
export function drawReadings(viewer, section, run, images) {
  const box = section.querySelector(".pfv-read");
  box.hidden = !run.meta.reads;
  if (box.hidden) return;
  if (run.status.state === "done" && !run.read) ask(viewer, run);
  const key = `${run.id} ${images} ${run.status.state} ${run.read?.come}`;
  if (box.key === key) return;
  box.key = key;
  if (run.read?.images)
    box.replaceChildren(...images.map((k) => line(run.meta.reads, run.read.images[k], viewer.sheet ? k : null)));
  else
    box.textContent =
      run.read?.refusal ?? NONE[run.status.state] ?? "What the result reads appears when the run has ended.";
}

async function ask(viewer, run) {
  run.read = { come: false };
  try {
    run.read = { come: true, ...(await run.ask("/read")) };
  } catch (error) {
    run.read = error.final ? { come: true, refusal: error.message } : null;
  }
  setTimeout(() => viewer.schedule(), run.read ? 0 : AGAIN); // no answer, or a busy server: it is asked anew
}

/** "The result reads CQT, asked CAT: 1 letter off." "Image 2 shows a green cone, asked a red cone: 1 thing off." */
function line(way, { asked, marks, edits }, image) {
  const each = document.createElement("p");
  each.append(`${image === null ? "The result" : `Image ${image + 1}`} ${way.verb} `);
  const word = document.createElement("span");
  word.className = "pfv-reading";
  word.dataset.unit = way.unit;
  word.append(
    ...marks.map(([text, right]) =>
      right
        ? text
        : Object.assign(document.createElement("mark"), {
            textContent: text,
            title: text === "_" ? "missing" : "wrong",
          }),
    ),
  );
  each.append(marks.length ? word : "nothing", verdict(way, asked, edits));
  return each;
}

function verdict(way, asked, edits) {
  if (!asked) return `. The prompt names no ${way.lacks}.`;
  return edits ? `, asked ${asked}: ${edits} ${way.unit}${edits > 1 ? "s" : ""} off.` : ", as asked.";
}
