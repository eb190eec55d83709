// A stage: runs one preset at a time in real time, fed with the sound that the show's page sends.
//
// Belongs here: loading, the frame loop, giving a preset's end and its failure back to the page. Does not belong here:
// which preset and when (the page), how a preset is read and compiled (the render page's modules, which are used as
// they are). This document has no origin, no network and no storage; all that it can do is answer on its port.

import { installSafeCompiler } from "/page/eel_wasm.js";
import { PresetFailure, describeError } from "/page/failure.js";
import { startParser } from "/page/hlsl.js";
import { readPreset } from "/page/preset.js";
import { installRandom, reseed, seedFromText } from "/page/random.js";
import { snapshotRealm } from "/page/realm.js";
import { reduceRealm } from "/page/reduce_realm.js";
import { loadInto } from "/page/render.js";
import { createVisualizer, dispose, prepareVisualizers } from "/page/visualizer.js";

const now = performance.now.bind(performance);
const requestFrame = globalThis.requestAnimationFrame.bind(globalThis);
const { apply } = Reflect;
const nativeToBitmap = OffscreenCanvas.prototype.transferToImageBitmap;
const { port1: port, port2: pagesPort } = new MessageChannel();
const tell = port.postMessage.bind(port);

const WINDOW = 1024; // samples that butterchurn hears at once
const NOMINAL_FPS = 60;
const WARM_FRAMES = 2; // drawn before a preset counts as loaded: the first use of its programs takes long
const SLOW_FRAME_MS = 50; // a preset that takes longer is drawn smaller
const LEAST_WIDTH = 320;
const REPORT_EVERY_MS = 500;
const LONGEST_STEP_S = 0.1;

const canvas = document.getElementById("picture");
const picture = canvas.getContext("bitmaprenderer", { alpha: false });
const silence = () => new Uint8Array(WINDOW).fill(128);
let sound = { timeByteArray: silence(), timeByteArrayL: silence(), timeByteArrayR: silence() };
let realm = null;
let shown = null; // {stage, token, startedAt, lastAt, report}
let turn = Promise.resolve();

function draw(one, stepS) {
  const { renderer, visualizer } = one.stage;
  renderer.clock = (now() - one.startedAt) / 1000;
  try {
    visualizer.render({ audioLevels: sound, elapsedTime: stepS });
  } catch (error) {
    throw new PresetFailure("render-failed", describeError(error));
  }
  picture.transferFromImageBitmap(apply(nativeToBitmap, one.stage.canvas, []));
  const { gl } = one.stage;
  if (one.fence) gl.deleteSync(one.fence);
  one.fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
  gl.flush();
}

/** Whether the GPU has drawn what was last asked of it: a slow one is not asked for more, or everything waits for it. */
function isDrawn({ fence, stage: { gl } }) {
  return !fence || gl.getSyncParameter(fence, gl.SYNC_STATUS) === gl.SIGNALED || gl.isContextLost();
}

function failureOf(error) {
  const known = error instanceof PresetFailure;
  return { code: known ? error.code : "probe-error", text: known ? error.message : describeError(error) };
}

/** Takes the preset off the stage and puts the realm back; names what it had changed. */
function clear() {
  if (!shown) return [];
  dispose(shown.stage);
  shown = null;
  const { mended, stuck } = realm.restore();
  return [...mended, ...stuck].slice(0, 5);
}

function waitForGpu({ gl }) {
  gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  if (gl.isContextLost()) throw new PresetFailure("context-lost", "the WebGL context was lost");
}

/** Puts a preset on the stage; returns how long its last warm frame took, ms. */
async function mount(token, text, width, height) {
  const preset = readPreset(text);
  const stage = await createVisualizer({ width, height, fps: NOMINAL_FPS, extraImages: preset.extraImages });
  shown = { stage, token, startedAt: now(), lastAt: now(), report: null };
  reseed(seedFromText(text, 0));
  await loadInto(stage, preset);
  let begun = now();
  for (let i = 0; i < WARM_FRAMES; i += 1) {
    begun = now();
    draw(shown, 1 / NOMINAL_FPS);
    waitForGpu(stage);
  }
  return now() - begun;
}

async function load({ token, text, width, height }) {
  clear();
  const begun = now();
  realm.begin();
  try {
    const frameMs = await mount(token, text, width, height);
    if (frameMs > SLOW_FRAME_MS) {
      const factor = Math.min(1, Math.max(LEAST_WIDTH / width, Math.sqrt(SLOW_FRAME_MS / 2 / frameMs)));
      dispose(shown.stage);
      await mount(token, text, Math.round((width * factor) / 2) * 2, Math.round((height * factor) / 2) * 2);
    }
  } catch (error) {
    const tampered = clear();
    tell({ type: "failed", token, tampered, ...failureOf(error) });
    return;
  }
  shown.lastAt = now();
  shown.report = { since: now(), frames: 0, longestMs: 0 };
  tell({ type: "loaded", token, loadMs: now() - begun, width: shown.stage.canvas.width });
  requestFrame(() => frame(token));
}

function frame(token) {
  if (!shown || shown.token !== token) return;
  if (!isDrawn(shown)) {
    requestFrame(() => frame(token));
    return;
  }
  const at = now();
  const stepMs = at - shown.lastAt;
  shown.lastAt = at;
  try {
    draw(shown, Math.min(stepMs / 1000, LONGEST_STEP_S));
    if (shown.stage.gl.isContextLost()) throw new PresetFailure("context-lost", "the WebGL context was lost");
  } catch (error) {
    const tampered = clear();
    tell({ type: "failed", token, tampered, ...failureOf(error) });
    return;
  }
  const { report } = shown;
  report.frames += 1;
  if (stepMs > report.longestMs) report.longestMs = stepMs;
  if (at - report.since >= REPORT_EVERY_MS) {
    tell({ type: "frames", token, frames: report.frames, spanMs: at - report.since, longestMs: report.longestMs });
    shown.report = { since: at, frames: 0, longestMs: 0 };
  }
  requestFrame(() => frame(token));
}

port.onmessage = ({ data }) => {
  if (data.type === "sound") sound = data.sound;
  else if (data.type === "load") turn = turn.then(() => load(data));
  else if (data.type === "clear") turn = turn.then(() => tell({ type: "cleared", tampered: clear() }));
};

installRandom();
installSafeCompiler();
await startParser();
let problem = "";
try {
  await prepareVisualizers();
} catch (error) {
  problem = describeError(error);
}
const page = globalThis.parent;
const offer = page.postMessage.bind(page);
reduceRealm();
realm = snapshotRealm();
offer({ type: "aivj-stage", problem }, "*", [pagesPort]);
