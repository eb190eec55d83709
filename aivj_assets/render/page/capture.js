// Pictures out of the canvas: squeezed to a square, encoded, measured.
//
// Belongs here: drawing onto the square 2-D canvas, encoding, gray values, luma and motion. Does not belong here:
// when a picture is taken (render.js). The 2-D canvas is kept in main memory (willReadFrequently) so that scaling
// is done by one piece of code on every machine, not by the GPU.

import {
  NativeFloat32Array,
  NativeUint8Array,
  abs,
  blobBytes,
  blobType,
  canvas2d,
  convertToBlob,
  encodeBase64,
  imageBytes,
  subarray,
  textOfBytes,
} from "/page/natives.js";

const NativeOffscreenCanvas = globalThis.OffscreenCanvas;
const MIME = { webp: "image/webp", png: "image/png", jpeg: "image/jpeg" };
const CHUNK = 0x8000;

function toBase64(buffer) {
  const bytes = new NativeUint8Array(buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += CHUNK) text += textOfBytes(subarray(bytes, i, i + CHUNK));
  return encodeBase64(text);
}

/** gray = 0.2126 R + 0.7152 G + 0.0722 B of stored sRGB values, each channel in 0..1. */
function grayOf(rgba) {
  const gray = new NativeFloat32Array(rgba.length / 4);
  for (let i = 0; i < gray.length; i += 1) {
    gray[i] = (0.2126 * rgba[4 * i] + 0.7152 * rgba[4 * i + 1] + 0.0722 * rgba[4 * i + 2]) / 255;
  }
  return gray;
}

/** A square canvas of outSize; `take(source)` draws the whole source onto it and returns the picture. */
export function createCapture({ outSize, format, webpQuality }) {
  const canvas = new NativeOffscreenCanvas(outSize, outSize);
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.globalCompositeOperation = "copy";

  return {
    /** Must be called in the task that drew `source`: a WebGL canvas is empty after it. */
    take(source) {
      canvas2d.drawImage(context, source, 0, 0, outSize, outSize);
      return { image: canvas2d.getImageData(context, 0, 0, outSize, outSize) };
    },
    /** Encodes a taken picture: {mime, b64}. Throws when the browser encodes in another format. */
    async encode(picture) {
      canvas2d.putImageData(context, picture.image, 0, 0);
      const blob = await convertToBlob(canvas, { type: MIME[format], quality: webpQuality });
      if (blobType(blob) !== MIME[format]) throw new Error(`this browser cannot encode ${format}`);
      return { mime: MIME[format], b64: toBase64(await blobBytes(blob)) };
    },
  };
}

/**
 * avgLuma: mean gray over all pictures; motion: mean over pictures of mean |gray - gray of the one before|, the
 * reference standing before the first. Both in 0..1.
 */
export function measure(reference, pictures) {
  let previous = grayOf(imageBytes(reference.image));
  let luma = 0;
  let motion = 0;
  for (const picture of pictures) {
    const gray = grayOf(imageBytes(picture.image));
    let sum = 0;
    let change = 0;
    for (let i = 0; i < gray.length; i += 1) {
      sum += gray[i];
      change += abs(gray[i] - previous[i]);
    }
    luma += sum / gray.length;
    motion += change / gray.length;
    previous = gray;
  }
  return { avgLuma: luma / pictures.length, motion: motion / pictures.length };
}
