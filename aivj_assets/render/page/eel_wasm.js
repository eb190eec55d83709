// The code that the engine makes of EEL equations, rid of the instructions that end a preset by a trap.
//
// Belongs here: %, |, & and indices of megabuf and gmegabuf for numbers that no integer can hold. Does not belong
// here: the equations' text (eel.js). MilkDrop's EEL goes on with some integer or with 0; the engine's compiler turns
// floats to integers with instructions that trap. They stand in four functions that it puts before the equations,
// always of the same bytes, and are replaced there; for numbers that fit nothing changes.
// Opcodes: https://webassembly.github.io/spec/core/binary/instructions.html

const { apply } = Reflect;
const CODE_SECTION = 10;
const HEADER_BYTES = 8;

const get = (local) => [0x20, local];
const ZERO = [0x44, 0, 0, 0, 0, 0, 0, 0, 0];
const I32_TRAPS = [0xaa]; // i32.trunc_f64_s
const I32_SATURATES = [0xfc, 0x02]; // i32.trunc_sat_f64_s: not a number → 0, too large → the nearest integer
const I64_TRAPS = [0xb0];
const I64_SATURATES = [0xfc, 0x06];

/** a % b on integers, 0 where b is 0. */
const remainder = (truncate) => [
  ...[1, 1, 0x7f, ...get(1), ...truncate, 0x22, 2, 0x41, 0, 0x47, 0x04, 0x7c],
  ...[...get(0), ...truncate, ...get(2), 0x6f, 0xb7, 0x05, ...ZERO, 0x0b, 0x0b],
];
/** a | b (0x84) and a & b (0x83). */
const bits = (truncate, operator) => [0, ...get(0), ...truncate, ...get(1), ...truncate, operator, 0xb9, 0x0b];

const INDEX_START = [2, 1, 0x7c, 1, 0x7f, 0x44, 0xf1, 0x68, 0xe3, 0x88, 0xb5, 0xf8, 0xe4, 0x3e, ...get(0), 0xa0];
/** Index + 0.00001 to a place in bytes, -1 where it is outside of 0 … 8,388,607. */
const INDEX = [
  ...[...INDEX_START, 0x22, 1, ...I32_TRAPS, 0x21, 2, 0x41, 0x7f, ...get(2), 0x41, 8, 0x6c],
  ...[...get(2), 0x41, 0, 0x48, ...get(2), 0x41, 0xff, 0xff, 0xff, 0x03, 0x4a, 0x72, 0x1b, 0x0b],
];
/** The same; the range is asked of the float, so that what is no number lies outside too. */
const SAFE_INDEX = [
  ...[...INDEX_START, 0x22, 1, ...I32_SATURATES, 0x41, 8, 0x6c, 0x41, 0x7f],
  ...[...get(1), 0x44, 0, 0, 0, 0, 0, 0, 0xf0, 0xbf, 0x64], // > -1
  ...[...get(1), 0x44, 0, 0, 0, 0, 0, 0, 0x60, 0x41, 0x63, 0x71, 0x1b, 0x0b], // < 8,388,608
];

const REPLACED = new Map(
  [
    [remainder(I32_TRAPS), remainder(I32_SATURATES)],
    [bits(I64_TRAPS, 0x84), bits(I64_SATURATES, 0x84)],
    [bits(I64_TRAPS, 0x83), bits(I64_SATURATES, 0x83)],
    [INDEX, SAFE_INDEX],
  ].map(([trapping, safe]) => [trapping.join(), safe]),
);
const LONGEST = Math.max(...[...REPLACED.keys()].map((key) => key.split(",").length));

/** An unsigned LEB128 number at `at`: [value, index behind it]. */
function readNumber(bytes, at) {
  let value = 0;
  let shift = 0;
  let next = at;
  for (; bytes[next] >= 0x80; next += 1, shift += 7) value += (bytes[next] & 0x7f) * 2 ** shift;
  return [value + bytes[next] * 2 ** shift, next + 1];
}

function writeNumber(value) {
  const bytes = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return [...bytes, rest];
}

/** The code section's content with the four functions exchanged. */
function withSafeFunctions(code) {
  const [count, first] = readNumber(code, 0);
  const parts = [writeNumber(count)];
  let at = first;
  for (let i = 0; i < count; i += 1) {
    const [size, body] = readNumber(code, at);
    const safe = size <= LONGEST ? REPLACED.get(code.subarray(body, body + size).join()) : undefined;
    parts.push(safe ? [...writeNumber(safe.length), ...safe] : code.subarray(at, body + size));
    at = body + size;
  }
  return joined(parts);
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A WebAssembly module's bytes with the engine's trapping functions exchanged; any other module as it is. */
export function withoutTraps(bytes) {
  if (!(bytes instanceof Uint8Array)) return bytes;
  for (let at = HEADER_BYTES; at < bytes.length; ) {
    const [size, content] = readNumber(bytes, at + 1);
    const end = content + size;
    if (bytes[at] === CODE_SECTION) {
      const code = withSafeFunctions(bytes.subarray(content, end));
      const head = [CODE_SECTION, ...writeNumber(code.length)];
      return joined([bytes.subarray(0, at), head, code, bytes.subarray(end)]);
    }
    at = end;
  }
  return bytes;
}

/** Lets every module that the engine compiles from now on go through `withoutTraps`. */
export function installSafeCompiler() {
  const { compile } = WebAssembly;
  WebAssembly.compile = (bytes) => apply(compile, WebAssembly, [withoutTraps(bytes)]);
}
