// What a speaker needs beside the viewer: presentation mode, export for a slide, three times side by side.

import { Presentation } from "./present.js";
import { SlideDialog } from "./slides.js";
import { TimesCard } from "./moments.js";

const TYPING = "input, textarea, select, [contenteditable=true], [role=listbox], [role=tab]";

export class Stage {
  constructor(viewer) {
    this.viewer = viewer;
    this.times = new TimesCard(viewer);
    viewer.find(".pfv-switches").append(
      this.button("Export\u2026", "Export for a slide: picture, GIF, WebP, MP4", () => this.export()),
      this.button("Present", "Presentation mode (F)", () => this.present()),
    );
    const keys = (event) => {
      if (!viewer.root.isConnected) document.removeEventListener("keydown", keys);
      else this.pressed(event);
    };
    document.addEventListener("keydown", keys);
  }

  button(text, title, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "pfv-link";
    button.textContent = text;
    button.title = title;
    button.addEventListener("click", act);
    return button;
  }

  pressed(event) {
    const { viewer } = this;
    if (event.key?.toLowerCase() !== "f" || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (viewer.root.offsetParent === null || event.target.closest?.(TYPING) || document.querySelector("dialog[open]"))
      return;
    event.preventDefault();
    this.present();
  }

  // both are made when they are first asked for

  export() {
    this.slides ||= new SlideDialog(this.viewer);
    this.slides.open();
  }

  present() {
    this.presentation ||= new Presentation(this.viewer);
    this.presentation.show();
  }

  /** Everything that follows the clock; costs nothing while it is closed. */
  draw() {
    this.presentation?.draw();
    this.times.draw();
  }
}
