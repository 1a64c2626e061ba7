// A short transition from one pass to the next: what a canvas showed lies over it for a moment and fades.

/** Let what the canvas shows now fade over what is drawn into it next, within `ms`. */
export function fadeFrom(canvas, ms) {
  if (!canvas.width || !canvas.height || !canvas.buffer) return;
  const ghost = (canvas.ghost ||= ghostOf(canvas));
  if (ghost.width !== canvas.width || ghost.height !== canvas.height)
    [ghost.width, ghost.height] = [canvas.width, canvas.height];
  ghost.getContext("2d").drawImage(canvas, 0, 0);
  ghost.getAnimations().forEach((running) => running.cancel());
  ghost.animate([{ opacity: 1 }, { opacity: 0 }], { duration: ms, easing: "ease-in-out" });
}

/** Seen only while its animation runs. */
function ghostOf(canvas) {
  const ghost = document.createElement("canvas");
  ghost.className = "pfv-ghost";
  ghost.setAttribute("aria-hidden", "true");
  canvas.after(ghost);
  return ghost;
}
