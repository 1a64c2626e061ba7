// The painter's canvas: picture, what is painted over it, grid, brush.

/** Of the longer side, in px. */
const largest = () => (innerWidth >= 1900 ? 576 : 448);

/** Pixels a patch: whole, and a multiple of the picture's own pixels in a patch where that fits. */
export function cellSize(painting, image, room) {
  const most = Math.max(3, Math.floor(Math.min(room, largest()) / Math.max(painting.cols, 1)));
  const tall = Math.max(3, Math.floor(largest() / Math.max(painting.rows, 1)));
  const cell = Math.min(most, tall);
  const own = image ? image.naturalWidth / painting.cols : 1;
  return Number.isInteger(own) && own <= cell ? Math.floor(cell / own) * own : cell;
}

export function draw(canvas, painter) {
  const { painting, image, cell } = painter;
  const [width, height] = [painting.cols * cell, painting.rows * cell];
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.fillStyle = painter.dark ? "#232a37" : "#dfe3ea";
  pen.fillRect(0, 0, width, height);
  if (image) pen.drawImage(image, 0, 0, width, height);
  if (painter.overlay || !image) drawCells(pen, painter);
  drawGrid(pen, painting, cell);
  drawMarks(pen, painter);
}

function drawCells(pen, { painting, image, cell, shown, colour }) {
  pen.font = `${Math.min(13, Math.round(cell * 0.32))}px ui-sans-serif, system-ui, sans-serif`;
  [pen.textAlign, pen.textBaseline] = ["center", "middle"];
  shown.forEach((v, p) => {
    const [x, y] = [(p % painting.cols) * cell, Math.floor(p / painting.cols) * cell];
    if (painting.mode === "values") drawValue(pen, x, y, cell, v, colour, Boolean(image));
    else if (v) drawChosen(pen, x, y, cell);
  });
}

function drawValue(pen, x, y, cell, v, colour, through) {
  const [r, g, b] = colour(v);
  pen.fillStyle = `rgba(${r},${g},${b},${through ? 0.62 : 1})`;
  pen.fillRect(x, y, cell, cell);
  if (cell < 32) return; // of 256 patches the numbers would hide the picture
  pen.lineWidth = 3;
  pen.strokeStyle = "#000a";
  pen.strokeText(v.toFixed(2), x + cell / 2, y + cell / 2);
  pen.fillStyle = "#fff";
  pen.fillText(v.toFixed(2), x + cell / 2, y + cell / 2);
}

/** Tinted, framed and hatched: to be told apart without its colour too. */
function drawChosen(pen, x, y, cell) {
  pen.save();
  pen.beginPath();
  pen.rect(x, y, cell, cell);
  pen.clip();
  pen.fillStyle = "rgba(79,70,229,0.42)";
  pen.fillRect(x, y, cell, cell);
  pen.strokeStyle = "#ffffffb0";
  pen.lineWidth = 1;
  pen.beginPath();
  const step = Math.max(5, Math.round(cell / 5));
  for (let k = step; k < 2 * cell; k += step) {
    pen.moveTo(x + k, y);
    pen.lineTo(x + k - cell, y + cell);
  }
  pen.stroke();
  pen.restore();
}

function drawGrid(pen, { rows, cols }, cell) {
  for (const [colour, shift] of [
    ["#0006", 0.5],
    ["#fff4", -0.5],
  ]) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1;
    pen.beginPath();
    for (let c = 1; c < cols; c += 1) {
      pen.moveTo(c * cell + shift, 0);
      pen.lineTo(c * cell + shift, rows * cell);
    }
    for (let r = 1; r < rows; r += 1) {
      pen.moveTo(0, r * cell + shift);
      pen.lineTo(cols * cell, r * cell + shift);
    }
    pen.stroke();
  }
}

/** The rectangle that is being drawn, else the brush's footprint at the pointer or at the keys' place. */
function drawMarks(pen, { painting, cell, anchor, spot, size, rectangle }) {
  if (!spot) return;
  const corners = anchor ? [anchor, spot] : rectangle ? [spot, spot] : painting.footprint(spot, size);
  const patches = painting.box(...corners);
  if (!patches.length) return;
  const [first, last] = [patches[0], patches[patches.length - 1]];
  const [x, y] = [(first % painting.cols) * cell, Math.floor(first / painting.cols) * cell];
  const [w, h] = [((last % painting.cols) + 1) * cell - x, (Math.floor(last / painting.cols) + 1) * cell - y];
  pen.setLineDash(anchor ? [6, 4] : []);
  for (const [colour, inset] of [
    ["#000", 0.75],
    ["#fff", 2.25],
  ]) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5;
    pen.strokeRect(x + inset, y + inset, w - 2 * inset, h - 2 * inset);
  }
  pen.setLineDash([]);
}
