// The synthetic sounds that presets can hear, by the names of the parameter `audio`.
//
// Belongs here: each sound as a function of (sample number, samples a beat, seed), the same on every machine. Does
// not belong here: bytes and windows (audio.js).
//
// techno ("synthetic" alone): mono parts with a small stereo spread
//   kick   on every beat; frequency 48 + 170/(1+60t)^2 Hz, amplitude 0.62/(1+7t)^3
//   bass   sixteenth notes except on the beat; one of five notes of a minor scale chosen by the seed's hash,
//          fundamental + second + third harmonic, amplitude 0.26/(1+5t)^2, ducked under the kick
//   hats   noise, high-passed by a first difference, on the off-beat eighths (open) and on sixteenths whose hash
//          says so (closed), amplitude 0.16/(1+k t)^3
//   clap   noise in three bursts on beats 2 and 4, amplitude 0.22/(1+28t)^3
//   Every fourth bar drops the kick on its last beat, so that a long render is not one bar repeated.
// The others never repeat, so that pictures which follow them can be told from pictures with a rhythm of their own:
//   pulse  low drum hits, three of eight half beats, somewhere within the half beat, each of its own strength
//   bursts high-passed noise, of half beats every other or so, of its own length and strength; nothing below 1 kHz
//   sweep  one tone that glides from half beat to half beat between 55 and 7040 Hz while its loudness swells and falls

import { SAMPLE_RATE, decay, hash, noise, sine } from "/page/signal.js";

// Semitones 0 3 5 7 10 over 55 Hz, as ratios of small integers.
const NOTES = [55, 65.4, 73.3333, 82.5, 98];

/** One sample as [left, right] in -1..1, written into `out`. */
function techno(sample, samplesPerBeat, seed, out) {
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

// One sound must tell nothing of another: each draws from a hash of its own.
const PULSE_SALT = 0x2c1b3c6d;
const BURSTS_SALT = 0x297a2d39;
const SWEEP_SALT = 0x6a09e667;

/** A number in [0, 1) that belongs to a slot of time. */
function chance(slot, seed) {
  return hash(slot, seed) / 4294967296;
}

function pulse(sample, samplesPerBeat, plainSeed, out) {
  const seed = plainSeed ^ PULSE_SALT;
  const slotLength = samplesPerBeat / 2;
  const now = Math.floor(sample / slotLength);
  let sum = 0;
  // A hit rings on for some half beats.
  for (let slot = now < 4 ? 0 : now - 4; slot <= now; slot += 1) {
    if (hash(slot, seed) % 8 >= 3) continue;
    const since = (sample - (slot + 0.8 * chance(slot, seed ^ 0x3c6ef372)) * slotLength) / SAMPLE_RATE;
    if (since < 0) continue;
    const strength = 0.35 + 0.55 * chance(slot, seed ^ 0x1b56c4e9);
    const turns = 52 * since + (140 * since) / (1 + 50 * since);
    sum += strength * decay(since, 6, 3) * sine(turns);
  }
  out[0] = sum;
  out[1] = sum;
}

function bursts(sample, samplesPerBeat, plainSeed, out) {
  const seed = plainSeed ^ BURSTS_SALT;
  const slotLength = samplesPerBeat / 2;
  const slot = Math.floor(sample / slotLength);
  let loudness = 0;
  if (hash(slot, seed) % 16 < 9) {
    const place = sample / slotLength - slot;
    const begins = 0.5 * chance(slot, seed ^ 0x3c6ef372);
    const lasts = 0.15 + 0.35 * chance(slot, seed ^ 0x1b56c4e9);
    if (place >= begins && place < begins + lasts) loudness = 0.12 + 0.3 * chance(slot, seed ^ 0x5bf03635);
  }
  out[0] = loudness * (noise(sample, seed) - noise(sample - 1, seed));
  out[1] = loudness * (noise(sample, seed ^ 0x27d4eb2f) - noise(sample - 1, seed ^ 0x27d4eb2f));
}

const SWEEP_OCTAVES = [55, 110, 220, 440, 880, 1760, 3520, 7040];

function sweepFrequency(slot, seed) {
  return SWEEP_OCTAVES[hash(slot, seed) % 8] * (0.8 + 0.4 * chance(slot, seed ^ 0x3c6ef372));
}

function sweepLoudness(slot, seed) {
  const value = chance(slot, seed ^ 0x1b56c4e9);
  return 0.75 * value * value;
}

// Turns of the tone at the beginning of a half beat: the sum of those before it, kept as it is made.
const sweepTurns = { key: "", starts: [0] };

function turnsAt(slot, slotSeconds, seed) {
  const key = `${slotSeconds} ${seed}`;
  if (sweepTurns.key !== key) Object.assign(sweepTurns, { key, starts: [0] });
  const { starts } = sweepTurns;
  for (let i = starts.length; i <= slot; i += 1) {
    const mean = (sweepFrequency(i - 1, seed) + sweepFrequency(i, seed)) / 2;
    const turns = starts[i - 1] + mean * slotSeconds;
    starts[i] = turns - Math.floor(turns);
  }
  return starts[slot];
}

function sweep(sample, samplesPerBeat, plainSeed, out) {
  const seed = plainSeed ^ SWEEP_SALT;
  const slotLength = samplesPerBeat / 2;
  const slotSeconds = slotLength / SAMPLE_RATE;
  const slot = Math.floor(sample / slotLength);
  const place = sample / slotLength - slot;
  const from = sweepFrequency(slot, seed);
  const to = sweepFrequency(slot + 1, seed);
  const turns = turnsAt(slot, slotSeconds, seed) + slotSeconds * place * (from + ((to - from) * place) / 2);
  const before = sweepLoudness(slot, seed);
  const loudness = before + (sweepLoudness(slot + 1, seed) - before) * place;
  out[0] = loudness * sine(turns);
  out[1] = out[0];
}

/** What `audio` may name, each as (sample, samplesPerBeat, seed, out): one sample as [left, right] in -1..1. */
export const SOUNDS = {
  synthetic: techno,
  "synthetic:pulse": pulse,
  "synthetic:bursts": bursts,
  "synthetic:sweep": sweep,
};
