// The plain loop's page: butterchurn as its README uses it, one visualizer for all presets.
//
// Belongs here: what the renderer is measured against. It shares with the render page what decides the amount of
// work (engine, conversion of .milk, sound, sizes) and nothing that makes it fast, repeatable or safe. It is meant to
// be as quick as a straightforward loop can be: no pauses, and the GPU is waited for only where a picture is taken.

import butterchurn from "/node_modules/butterchurn/dist/butterchurn.js";
import { createAudio } from "/page/audio.js";
import { startParser } from "/page/hlsl.js";
import { readPreset } from "/page/preset.js";
import { EXTRA_TEXTURES } from "/page/textures.js";

const MIME = { webp: "image/webp", png: "image/png", jpeg: "image/jpeg" };
let stage = null;

function createStage({ width, height, outSize }) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const visualizer = butterchurn.createVisualizer(null, canvas, { width, height, pixelRatio: 1, textureRatio: 1 });
  visualizer.loadExtraImages(EXTRA_TEXTURES);
  const square = new OffscreenCanvas(outSize, outSize);
  const context = square.getContext("2d", { alpha: false });
  context.imageSmoothingQuality = "high";
  return { canvas, visualizer, square, context };
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Renders one preset's text; returns its captures as base64, in order. */
globalThis.renderPlain = async function renderPlain(text, settings) {
  stage ??= createStage(settings);
  const { canvas, visualizer, square, context } = stage;
  await visualizer.loadPreset(readPreset(text).map, 0);
  const { warmupFrames, captureCount, captureEvery, fixedStepFps, outSize, format, webpQuality } = settings;
  const audio = createAudio({ mode: settings.audio, bpm: settings.bpm, seed: settings.audioSeed });
  const captures = [];
  for (let frame = 1; frame <= warmupFrames + captureCount * captureEvery; frame += 1) {
    visualizer.render({ audioLevels: audio.at(frame / fixedStepFps), elapsedTime: 1 / fixedStepFps });
    if (frame > warmupFrames && (frame - warmupFrames) % captureEvery === 0) {
      context.drawImage(canvas, 0, 0, outSize, outSize);
      captures.push(await base64(await square.convertToBlob({ type: MIME[format], quality: webpQuality })));
    }
  }
  return captures;
};

await startParser();
globalThis.plainReady = true;
