// Pictures of a frame: WebP sheets, laid out as app/server/pictures.py says, decoded to plain RGB.

const OPTIONS = { colorSpaceConversion: "none", premultiplyAlpha: "none" }; // the numbers as they were sent
let scratch = null;

/** Decode one sheet of B pictures, `planes` 1 or 3: (B, H, W, 3) values. */
async function decode({ bytes, planes }, shape) {
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/webp" }), OPTIONS);
  const { width, height } = bitmap;
  if (!scratch || scratch.canvas.width < width || scratch.canvas.height < height) {
    const [w, h] = [Math.max(width, scratch?.canvas.width ?? 0), Math.max(height, scratch?.canvas.height ?? 0)];
    scratch = new OffscreenCanvas(w, h).getContext("2d", { willReadFrequently: true });
  }
  scratch.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = scratch.getImageData(0, 0, width, height);
  return planes === 3 ? untile(pixels, shape, width / 3, 0) : untile(pixels, shape, 0, 1);
}

/** The pictures of a sheet one after the other. Channel c stands c * shift pixels to the right, c * step bytes on. */
function untile({ data, width }, { images, height: h, width: w }, shift, step) {
  const cols = Math.ceil(Math.sqrt(images));
  const pixels = new Uint8ClampedArray(images * h * w * 3);
  let to = 0;
  for (let k = 0; k < images; k += 1) {
    for (let y = 0; y < h; y += 1) {
      let from = 4 * ((Math.floor(k / cols) * h + y) * width + (k % cols) * w);
      for (let x = 0; x < w; x += 1, from += 4, to += 3) {
        for (let c = 0; c < 3; c += 1) pixels[to + c] = data[from + c * (4 * shift + step)];
      }
    }
  }
  return pixels;
}

/** Decode both pictures of a frame into frame.x and frame.x1_hat. */
export async function decodeFrame(frame, shape) {
  const [x, guess] = await Promise.all(frame.coded.map((each) => decode(each, shape)));
  [frame.x, frame.x1_hat] = [x, guess];
}

const ALL = 128e6; // bytes of a run's decoded pictures: up to this all are kept
const NEAR = 12; // frames: else those so far to either side

/** Are a run's pictures too many to be kept decoded? */
export const tooMany = (shape, frames) => frames * shape.images * shape.height * shape.width * 6 > ALL;

/** Decode the frames around frame i that are not, let go of those far off; `shown()` once frame i is there. */
export function decodeAround(frames, shape, i, shown) {
  frames.forEach((frame, k) => {
    if (Math.abs(k - i) > 2 * NEAR) frame.x = frame.x1_hat = null;
    else if (Math.abs(k - i) <= NEAR && !frame.x && !frame.coming) {
      frame.coming = true;
      const done = () => {
        frame.coming = false;
        shown(k);
      };
      decodeFrame(frame, shape).then(done, done);
    }
  });
}
