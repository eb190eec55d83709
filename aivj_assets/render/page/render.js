// One preset from text to pictures: the only place that knows the order of things.
//
// Belongs here: seeding, loading, the frame loop, when a picture is taken, deadlines, what counts as a failure.
// Does not belong here: how any of it is done (the other modules).

import { createAudio } from "/page/audio.js";
import { createCapture, measure } from "/page/capture.js";
import { PresetFailure, describeError } from "/page/failure.js";
import { startParser } from "/page/hlsl.js";
import { NativeUint8Array, webgl } from "/page/natives.js";
import { readPreset } from "/page/preset.js";
import { expectedBodies, programFailure } from "/page/programs.js";
import { reseed, seedFromText } from "/page/random.js";
import { createVisualizer, dispose } from "/page/visualizer.js";

const now = performance.now.bind(performance);
const nativeSetTimeout = globalThis.setTimeout.bind(globalThis);
const NativeMessageChannel = globalThis.MessageChannel;
const FRAMES_PER_TASK = 10;

const channel = new NativeMessageChannel();
let wake = null;
channel.port1.onmessage = () => wake();
const postWake = channel.port2.postMessage.bind(channel.port2);

/** Ends the current task, so that messages and timers of the page can be served. */
function nextTask() {
  return new Promise((resolve) => {
    wake = resolve;
    postWake(0);
  });
}

function sleep(ms) {
  return new Promise((resolve) => nativeSetTimeout(resolve, ms));
}

/** The blank preset of the engine's own look, for a prewarm call without preset data. */
const BLANK = JSON.stringify({ baseVals: {}, init_eqs_eel: "", warp: "", comp: "" });

function checkDeadline(deadline, what) {
  if (now() > deadline) throw new PresetFailure("probe-timeout", `timeoutMs was over while ${what}`);
}

function checkContext(gl) {
  if (webgl.isContextLost(gl)) throw new PresetFailure("context-lost", "the WebGL context was lost");
}

/** Loads a preset that was read into a stage; throws PresetFailure when the engine or the GL compiler refuses it. */
export async function loadInto(stage, preset) {
  const bodies = expectedBodies(preset.shaders, (text) => {
    throw new PresetFailure("shader-compile-failed", text);
  });
  try {
    await stage.visualizer.loadPreset(preset.map, 0);
  } catch (error) {
    throw new PresetFailure("preset-load-failed", describeError(error));
  }
  stage.renderer.blending = false;
  if (stage.renderer.preset === stage.renderer.blankPreset) {
    throw new PresetFailure("preset-load-failed", "the engine refused the preset without saying why");
  }
  checkContext(stage.gl);
  const failure = programFailure(stage, bodies);
  if (failure) throw new PresetFailure("shader-compile-failed", failure);
  checkContext(stage.gl);
}

/** Draws frame number `frame` (from 1); its picture is drawn to the canvas only when `visible`. */
function drawFrame(stage, audio, frame, visible, params) {
  const { renderer, visualizer } = stage;
  const seconds = frame / params.fixedStepFps;
  const realSeconds = params.timeMode === "realtime" ? (now() - stage.startedAt) / 1000 : undefined;
  renderer.clock = realSeconds;
  renderer.drawNext = visible;
  try {
    visualizer.render({ audioLevels: audio.at(realSeconds ?? seconds), elapsedTime: 1 / params.fixedStepFps });
  } catch (error) {
    throw new PresetFailure("render-failed", `frame ${frame}: ${describeError(error)}`);
  }
}

/** Waits for the GPU to have drawn what was asked of it: without, a deadline would only see the asking. */
function waitForGpu(gl, pixel) {
  webgl.bindFramebuffer(gl, gl.READ_FRAMEBUFFER, null);
  webgl.readPixels(gl, 0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
  checkContext(gl);
}

async function simulate(stage, audio, capture, params, deadline, timings) {
  const { warmupFrames, captureCount, captureEvery } = params;
  const total = warmupFrames + captureCount * captureEvery;
  const pixel = new NativeUint8Array(4);
  const pictures = [];
  let reference = warmupFrames === 0 && captureCount > 0 ? capture.take(stage.canvas) : null;
  stage.startedAt = now();
  for (let frame = 1; frame <= total; frame += 1) {
    const isReference = frame === warmupFrames && captureCount > 0;
    const isCapture = frame > warmupFrames && (frame - warmupFrames) % captureEvery === 0;
    if (params.timeMode === "realtime") {
      await sleep(Math.max(0, stage.startedAt + (1000 * frame) / params.fixedStepFps - now()));
    }
    const begun = now();
    drawFrame(stage, audio, frame, isReference || isCapture || captureCount === 0, params);
    const asked = now();
    timings.js += asked - begun;
    if (isReference || isCapture || frame % FRAMES_PER_TASK === 0 || frame === total) {
      waitForGpu(stage.gl, pixel);
      timings.gl += now() - asked;
    }
    if (isReference || isCapture) {
      const started = now();
      const picture = capture.take(stage.canvas);
      if (isReference) reference = picture;
      else pictures.push(picture);
      checkContext(stage.gl);
      timings.readback += now() - started;
    }
    if (frame % FRAMES_PER_TASK === 0) await nextTask();
    checkDeadline(deadline, `frame ${frame} of ${total}`);
  }
  return { reference, pictures };
}

function startConversion(params) {
  const text = params.presetData.trim() === "" && params.captureCount === 0 ? BLANK : params.presetData;
  return readPreset(text);
}

function seedFor(params) {
  const salt = Math.imul(params.audioSeed, 0x9e3779b1);
  return seedFromText(params.presetSeed === undefined ? params.presetData : `seed ${params.presetSeed}`, salt);
}

/**
 * Renders one preset with checked parameters. Returns {metrics, frames, reference, warnings}; throws
 * PresetFailure. `timings` (ms) is filled in as far as the work came; `report(stage)` tells the progress.
 */
export async function renderPreset(params, timings, report) {
  const deadline = now() + params.timeoutMs;
  let mark = now();
  const lap = (name) => {
    timings[name] += now() - mark;
    mark = now();
  };
  report("convert");
  await startParser();
  let preset;
  try {
    preset = startConversion(params);
  } finally {
    lap("convert");
  }
  report("load");
  const { width, height, fixedStepFps: fps } = params;
  const stage = await createVisualizer({ width, height, fps, extraImages: preset.extraImages });
  try {
    reseed(seedFor(params));
    try {
      await loadInto(stage, preset);
    } finally {
      lap("load");
    }
    checkDeadline(deadline, "loading");
    report("render");
    const audio = createAudio({
      mode: params.audio,
      bpm: params.bpm,
      seed: params.audioSeed,
      samples: params.audioSamples,
      channels: params.audioChannels,
    });
    const capture = createCapture(params);
    const shown = await simulate(stage, audio, capture, params, deadline, timings);
    mark = now();
    if (params.captureCount === 0) return { metrics: {}, frames: [], reference: null, warnings: preset.warnings };
    report("encode");
    const metrics = measure(shown.reference, shown.pictures);
    const frames = [];
    for (const picture of shown.pictures) frames.push(await capture.encode(picture));
    const reference = await capture.encode(shown.reference);
    lap("encode");
    return { metrics, frames, reference, warnings: preset.warnings };
  } finally {
    dispose(stage);
  }
}
