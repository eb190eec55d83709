// The sound that the presets hear: a synthetic techno loop, or silence.
//
// Belongs here: the signal as a pure function of (bpm, seed, sample number). Does not belong here: how
// butterchurn turns samples into bass, mid and treb, and no audio device of any kind.
//
// The signal, at 44100 samples/s, mono parts with a small stereo spread, 8 bits unsigned with 128 as zero (what
// an AnalyserNode's getByteTimeDomainData gives, and what butterchurn's render({audioLevels}) takes):
//   kick   on every beat; frequency 48 + 170/(1+60t)^2 Hz, amplitude 0.62/(1+7t)^3
//   bass   sixteenth notes except on the beat; one of five notes of a minor scale chosen by the seed's hash,
//          fundamental + second + third harmonic, amplitude 0.26/(1+5t)^2, ducked under the kick
//   hats   noise, high-passed by a first difference, on the off-beat eighths (open) and on sixteenths whose hash
//          says so (closed), amplitude 0.16/(1+k t)^3
//   clap   noise in three bursts on beats 2 and 4, amplitude 0.22/(1+28t)^3
// Every fourth bar drops the kick on its last beat, so that a long render is not one bar repeated.
//
// Only + - * / and integer operations make the samples (IEEE 754 defines their results exactly), the sine is a
// table from a polynomial, the envelopes are rational functions, and the noise is an integer hash: the same
// bytes on every machine and in every engine. Math.sin and Math.exp promise no such thing.

export const SAMPLE_RATE = 44100;
export const WINDOW = 1024; // samples per frame that butterchurn reads

const SINE_SIZE = 4096;
const SINE = new Float64Array(SINE_SIZE + 1);
for (let i = 0; i <= SINE_SIZE; i += 1) {
  // Fold to [-1/4, 1/4] turns, then the sine's Taylor series to x^15 (error < 1e-11 there).
  let turn = i / SINE_SIZE;
  if (turn > 0.75) turn -= 1;
  else if (turn > 0.25) turn = 0.5 - turn;
  const x = turn * 6.283185307179586;
  const s = x * x;
  let term = x;
  let sum = x;
  for (let k = 1; k <= 7; k += 1) {
    term = (-term * s) / (2 * k * (2 * k + 1));
    sum += term;
  }
  SINE[i] = sum;
}

/** sin(2 pi turns), linear between the table's points; turns >= 0. */
function sine(turns) {
  const place = (turns - Math.floor(turns)) * SINE_SIZE;
  const index = Math.floor(place);
  return SINE[index] + (SINE[index + 1] - SINE[index]) * (place - index);
}

function hash(value, seed) {
  let h = Math.imul(value ^ seed, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca77);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae3d);
  return (h ^ (h >>> 16)) >>> 0;
}

function noise(sample, seed) {
  return hash(sample, seed) / 2147483648 - 1;
}

// Semitones 0 3 5 7 10 over 55 Hz, as ratios of small integers.
const NOTES = [55, 65.4, 73.3333, 82.5, 98];

function decay(seconds, rate, power) {
  const base = 1 / (1 + rate * seconds);
  return power === 2 ? base * base : base * base * base;
}

/** One sample as [left, right] in -1..1, written into `out`. */
function mix(sample, samplesPerBeat, seed, out) {
  const beat = Math.floor(sample / samplesPerBeat);
  const sinceBeat = (sample - beat * samplesPerBeat) / SAMPLE_RATE;
  const step = Math.floor((sample * 4) / samplesPerBeat);
  const sinceStep = (sample - (step * samplesPerBeat) / 4) / SAMPLE_RATE;
  const stepInBeat = step - beat * 4;

  let kick = 0;
  let duck = 1;
  if (beat % 16 !== 15) {
    const turns = 48 * sinceBeat + (170 * sinceBeat) / (1 + 60 * sinceBeat);
    kick = 0.62 * decay(sinceBeat, 7, 3) * sine(turns);
    duck = 1 - 0.8 * decay(sinceBeat, 9, 2);
  }

  let bass = 0;
  if (stepInBeat !== 0) {
    const note = NOTES[hash(step % 32, seed) % NOTES.length];
    const turns = note * sinceStep;
    const tone = sine(turns) + 0.5 * sine(2 * turns) + 0.3 * sine(3 * turns);
    bass = 0.26 * duck * decay(sinceStep, 5, 2) * tone;
  }

  const high = noise(sample, seed) - noise(sample - 1, seed);
  let hat = 0;
  if (stepInBeat === 2) hat = 0.16 * decay(sinceStep, 16, 3) * high;
  else if (hash(step % 16, seed ^ 0x5bf03635) % 5 < 3) hat = 0.09 * decay(sinceStep, 70, 3) * high;

  let clap = 0;
  if (beat % 2 === 1) {
    const burst = sinceBeat < 0.024 ? sinceBeat - Math.floor(sinceBeat / 0.012) * 0.012 : sinceBeat - 0.024;
    clap = 0.22 * decay(burst, 28, 3) * noise(sample, seed ^ 0x27d4eb2f);
  }

  const spread = 0.15 * hat;
  out[0] = kick + bass + hat + spread + 0.9 * clap;
  out[1] = kick + bass + hat - spread + clap;
}

const sources = new Map();
// 12 kB each with their spectra (visualizer.js): more than a usual run's frames, far less than a page may hold.
const KEPT_WINDOWS = 2048;

/** Windows of a mixed signal by the sample where they end. Samples are made once, for the longest time asked for. */
function createSource(bpm, seed) {
  const samplesPerBeat = (60 / bpm) * SAMPLE_RATE;
  let left = new Uint8Array(0);
  let right = new Uint8Array(0);
  let made = 0;
  const pair = new Float64Array(2);
  const toByte = (value) => {
    const byte = Math.floor(128 + 127 * value + 0.5);
    return byte < 0 ? 0 : byte > 255 ? 255 : byte;
  };

  function extend(upTo) {
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
      mix(made, samplesPerBeat, seed, pair);
      left[made] = toByte(pair[0]);
      right[made] = toByte(pair[1]);
    }
  }

  return (end) => {
    extend(end);
    const window = emptyWindow();
    for (let i = 0; i < WINDOW; i += 1) {
      const sample = end - WINDOW + i;
      const l = sample < 0 ? 128 : left[sample];
      const r = sample < 0 ? 128 : right[sample];
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

/**
 * A source of windows: `at(seconds)` gives the WINDOW samples that end at that time, as butterchurn wants them, never
 * to be written to; before time 0 there is silence. Presets hear the same, so the first windows are kept for the next
 * preset (their `timeByteArray.kept` is true).
 */
export function createAudio({ mode, bpm, seed }) {
  if (mode === "silence") {
    const silence = emptyWindow();
    return { at: () => silence };
  }
  const key = `${bpm} ${seed}`;
  if (!sources.has(key)) {
    sources.clear();
    sources.set(key, { windowAt: createSource(bpm, seed), windows: new Map() });
  }
  const { windowAt, windows } = sources.get(key);
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
