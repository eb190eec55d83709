// What synthetic sounds are made of: a sine, noise, a decay, the same numbers on every machine.
//
// Belongs here: functions of numbers. Does not belong here: sounds (sounds.js).
//
// Only + - * / and integer operations (IEEE 754 defines their results exactly): the sine is a table from a
// polynomial, the envelopes are rational functions, and the noise is an integer hash. Math.sin and Math.exp promise
// no such thing.

export const SAMPLE_RATE = 44100;

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
export function sine(turns) {
  const place = (turns - Math.floor(turns)) * SINE_SIZE;
  const index = Math.floor(place);
  return SINE[index] + (SINE[index + 1] - SINE[index]) * (place - index);
}

/** A 32-bit hash of a whole number. */
export function hash(value, seed) {
  let h = Math.imul(value ^ seed, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca77);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae3d);
  return (h ^ (h >>> 16)) >>> 0;
}

/** White noise in -1..1, one value a sample number. */
export function noise(sample, seed) {
  return hash(sample, seed) / 2147483648 - 1;
}

/** 1 at the start, falling as 1/(1 + rate t)^2 or ^3. */
export function decay(seconds, rate, power) {
  const base = 1 / (1 + rate * seconds);
  return power === 2 ? base * base : base * base * base;
}
