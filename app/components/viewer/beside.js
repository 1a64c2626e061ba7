// A dialog that a press beside it closes.

/** The press must begin and end there: neither marking the dialog's words nor its scroll bar is one. */
export function closesBeside(box) {
  let begun = false;
  const beside = ({ target, clientX: x, clientY: y }) => {
    const { left, right, top, bottom } = box.getBoundingClientRect();
    return target === box && (x < left || x > right || y < top || y > bottom);
  };
  box.addEventListener("pointerdown", (event) => {
    begun = beside(event);
  });
  box.addEventListener("click", (event) => begun && beside(event) && box.close());
}
