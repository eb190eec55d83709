// The payload's fields: names, defaults and what is allowed.
//
// Belongs here: checking a payload before anything is done with it. Does not belong here: what a field does.

import { SOUNDS } from "/page/sounds.js";

const isWhole = (low, high) => (value) => Number.isInteger(value) && value >= low && value <= high;
const isNumber = (low, high) => (value) => typeof value === "number" && value >= low && value <= high;
const isOneOf =
  (...allowed) =>
  (value) =>
    allowed.includes(value);

const isGiven = (audio) => /^sha256:[0-9a-f]{64}$/.test(audio);
const isAudio = (value) => value === "silence" || Object.hasOwn(SOUNDS, value) || isGiven(value);

// name: [default, check, what is allowed in words]
const FIELDS = {
  url: ["", (value) => typeof value === "string", "a text"],
  presetData: ["", (value) => typeof value === "string", "a text"],
  width: [256, isWhole(16, 4096), "a whole number 16..4096"],
  height: [256, isWhole(16, 4096), "a whole number 16..4096"],
  outSize: [224, isWhole(8, 4096), "a whole number 8..4096"],
  warmupFrames: [60, isWhole(0, 100000), "a whole number 0..100000"],
  captureCount: [3, isWhole(0, 1000), "a whole number 0..1000"],
  captureEvery: [30, isWhole(1, 100000), "a whole number 1..100000"],
  timeoutMs: [30000, isNumber(1, 86400000), "a number 1..86400000"],
  format: ["webp", isOneOf("webp", "png", "jpeg"), '"webp", "png" or "jpeg"'],
  webpQuality: [0.92, isNumber(0, 1), "a number 0..1"],
  audio: ["synthetic", isAudio, '"synthetic", "synthetic:<sound>", "silence" or "sha256:<64 hex digits>"'],
  audioSamples: ["", (value) => typeof value === "string", "a text (base64)"],
  audioChannels: [1, isWhole(1, 2), "1 or 2"],
  timeMode: ["fixedStep", isOneOf("fixedStep", "realtime"), '"fixedStep" or "realtime"'],
  fixedStepFps: [30, isNumber(1, 1000), "a number 1..1000"],
  audioSeed: [1, isWhole(-2147483648, 4294967295), "a 32-bit whole number"],
  bpm: [128, isNumber(20, 400), "a number 20..400"],
  presetSeed: [undefined, (value) => value === undefined || Number.isInteger(value), "a whole number"],
};

/** Known fields of a payload with defaults filled in (null counts as absent); throws an Error naming a bad field. */
export function readParameters(payload) {
  const source = payload !== null && typeof payload === "object" ? payload : {};
  const params = {};
  for (const [name, [fallback, check, words]] of Object.entries(FIELDS)) {
    const value = source[name] ?? fallback;
    if (!check(value)) throw new Error(`payload.${name} must be ${words}, not ${String(value).slice(0, 60)}`);
    params[name] = value;
  }
  if (isGiven(params.audio) && params.audioSamples === "") {
    throw new Error("payload.audioSamples must hold the samples that payload.audio names");
  }
  if (!isGiven(params.audio)) params.audioSamples = "";
  return params;
}
