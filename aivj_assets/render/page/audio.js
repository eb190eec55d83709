// What the presets hear, in the windows that butterchurn reads: a synthetic sound, a file's samples, or silence.
//
// Belongs here: samples of 8 bits and their windows. Does not belong here: what is synthesised (sounds.js), how
// butterchurn turns samples into bass, mid and treb, and no audio device of any kind.
//
// 44100 samples/s, 8 bits unsigned with 128 as zero: what an AnalyserNode's getByteTimeDomainData gives, and what
// butterchurn's render({audioLevels}) takes.

import { SAMPLE_RATE } from "/page/signal.js";
import { SOUNDS } from "/page/sounds.js";

export { SAMPLE_RATE };
export const WINDOW = 1024; // samples per frame that butterchurn reads

const nativeAtob = globalThis.atob.bind(globalThis);

const sources = new Map();
// 12 kB each with their spectra (visualizer.js): more than a usual run's frames, far less than a page may hold.
const KEPT_WINDOWS = 2048;

function toByte(value) {
  const byte = Math.floor(128 + 127 * value + 0.5);
  return byte < 0 ? 0 : byte > 255 ? 255 : byte;
}

/** Samples of a synthetic sound up to a number: {left, right}, made once, for the longest time asked for. */
function synthesised(sound, bpm, seed) {
  const samplesPerBeat = (60 / bpm) * SAMPLE_RATE;
  let left = new Uint8Array(0);
  let right = new Uint8Array(0);
  let made = 0;
  const pair = new Float64Array(2);

  return (upTo) => {
    if (upTo > left.length) {
      const size = Math.max(upTo, left.length * 2, SAMPLE_RATE);
      const grownLeft = new Uint8Array(size);
      const grownRight = new Uint8Array(size);
      grownLeft.set(left);
      grownRight.set(right);
      left = grownLeft;
      right = grownRight;
    }
    for (; made < upTo; made += 1) {
      sound(made, samplesPerBeat, seed, pair);
      left[made] = toByte(pair[0]);
      right[made] = toByte(pair[1]);
    }
    return { left, right };
  };
}

/** Samples of a file, base64 of bytes whose channels alternate: {left, right}, whatever the number. */
function given(encoded, channels) {
  const text = nativeAtob(encoded);
  const count = Math.floor(text.length / channels);
  const left = new Uint8Array(count);
  const right = channels === 2 ? new Uint8Array(count) : left;
  for (let i = 0; i < count; i += 1) {
    left[i] = text.charCodeAt(channels * i);
    if (channels === 2) right[i] = text.charCodeAt(2 * i + 1);
  }
  return () => ({ left, right });
}

/** Windows of a signal by the sample where they end; before its first sample and after its last there is silence. */
function createSource(samplesUpTo) {
  return (end) => {
    const { left, right } = samplesUpTo(end);
    const window = emptyWindow();
    for (let i = 0; i < WINDOW; i += 1) {
      const sample = end - WINDOW + i;
      const within = sample >= 0 && sample < left.length;
      const l = within ? left[sample] : 128;
      const r = within ? right[sample] : 128;
      window.timeByteArrayL[i] = l;
      window.timeByteArrayR[i] = r;
      window.timeByteArray[i] = (l + r + 1) >> 1;
    }
    return window;
  };
}

function emptyWindow() {
  return {
    timeByteArray: new Uint8Array(WINDOW).fill(128),
    timeByteArrayL: new Uint8Array(WINDOW).fill(128),
    timeByteArrayR: new Uint8Array(WINDOW).fill(128),
  };
}

/** The source of windows of a mode; the last one is kept, as presets hear the same. */
function sourceOf({ mode, bpm, seed, samples, channels }) {
  const key = samples ? `${mode} ${channels} ${samples.length}` : `${mode} ${bpm} ${seed}`;
  if (!sources.has(key)) {
    const samplesUpTo = samples ? given(samples, channels) : synthesised(SOUNDS[mode], bpm, seed);
    sources.clear();
    sources.set(key, { windowAt: createSource(samplesUpTo), windows: new Map() });
  }
  return sources.get(key);
}

/**
 * A source of windows: `at(seconds)` gives the WINDOW samples that end at that time, as butterchurn wants them, never
 * to be written to; before time 0 there is silence. `mode` is "silence", a name of SOUNDS, or that of given `samples`
 * (base64, `channels` alternating). Presets hear the same, so the first windows are kept for the next preset (their
 * `timeByteArray.kept` is true).
 */
export function createAudio(settings) {
  if (settings.mode === "silence") {
    const silence = emptyWindow();
    return { at: () => silence };
  }
  const { windowAt, windows } = sourceOf(settings);
  return {
    at(seconds) {
      const end = Math.floor(seconds * SAMPLE_RATE + 0.5);
      const known = windows.get(end);
      if (known) return known;
      const window = windowAt(end);
      if (windows.size < KEPT_WINDOWS) {
        window.timeByteArray.kept = true;
        windows.set(end, window);
      }
      return window;
    },
  };
}

/** The first `seconds` of a synthetic sound, base64 of bytes whose two channels alternate. */
export function soundBytes({ mode, bpm, seed }, seconds) {
  const count = Math.floor(seconds * SAMPLE_RATE + 0.5);
  const { left, right } = synthesised(SOUNDS[mode], bpm, seed)(count);
  let text = "";
  for (let i = 0; i < count; i += 1) text += String.fromCharCode(left[i], right[i]);
  return btoa(text);
}
