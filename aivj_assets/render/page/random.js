// The only source of chance in the page: a seeded generator that takes the place of Math.random.
//
// Belongs here: the generator (sfc32, integer arithmetic only) and the seeds made from text. Does not belong
// here: when it is reseeded (render.js). Butterchurn and its equation compiler keep a reference to
// Math.random, so the function stays the same one for the page's life and only its state changes.

const imul = Math.imul;

let a = 0;
let b = 0;
let c = 0;
let counter = 1;

/** Next number in [0, 1), 32 bits of it. */
export function random() {
  const sum = (a + b + counter) | 0;
  counter = (counter + 1) | 0;
  a = b ^ (b >>> 9);
  b = (c + (c << 3)) | 0;
  c = ((c << 21) | (c >>> 11)) + sum;
  c |= 0;
  return (sum >>> 0) / 4294967296;
}

/** Sets the generator's state from three 32-bit words. */
export function reseed(words) {
  a = words[0] | 0;
  b = words[1] | 0;
  c = words[2] | 0;
  counter = 1;
  for (let i = 0; i < 15; i += 1) random();
}

/**
 * Three 32-bit words from a text and a salt (FNV-1a with three offsets and a final mix).
 * Not a cryptographic digest: crypto.subtle is missing on an origin that is not https.
 */
export function seedFromText(text, salt) {
  const words = [0x811c9dc5 ^ salt, 0x9e3779b9 ^ imul(salt, 0x85ebca6b), 0x2545f491 ^ imul(salt, 0xc2b2ae35)];
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    words[0] = imul(words[0] ^ code, 0x01000193);
    words[1] = imul(words[1] ^ code, 0x5bd1e995);
    words[2] = imul(words[2] ^ code, 0x1b873593) ^ (words[2] >>> 15);
  }
  for (let i = 0; i < 3; i += 1) {
    let h = words[i];
    h = imul(h ^ (h >>> 16), 0x85ebca6b);
    h = imul(h ^ (h >>> 13), 0xc2b2ae35);
    words[i] = (h ^ (h >>> 16)) | 0;
  }
  return words;
}

/** Puts the seeded generator in Math.random's place. */
export function installRandom() {
  Math.random = random;
}
