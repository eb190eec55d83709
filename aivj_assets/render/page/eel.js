// EEL equations made fit for butterchurn's compiler to wasm, in the few places where that compiler is wrong.
//
// Belongs here: loop(count, body), whose code leaves the whole equation block when count is 0 or less and traps when
// it is no number; assign(place, value), which is refused for a place that is no plain name. Does not belong here:
// running equations.

const CALL = /\b(loop|assign)\s*\(/i;
const CALLS = new RegExp(CALL.source, "gi");
const MAX_CALLS = 1000;
const COMMENT = /\/\*[^]*?(\*\/|$)|\/\/[^\n]*/g;

/** The text as the engine's compiler reads it, comments left out: two backslashes begin one too, to the line's end. */
export function withoutComments(source) {
  if (!/\/[/*]|\\\\/.test(source)) return source;
  let out = "";
  let inLine = false;
  let inBlock = false;
  for (let i = 0; i < source.length; i += 1) {
    const two = source[i] + (source[i + 1] ?? "");
    if (source[i] === "\n" || two === "\r\n") inLine = false;
    if (inBlock && two === "*/") {
      inBlock = false;
      i += 1;
    } else if (two === "\\\\" || two === "//") {
      inLine = true;
      i += 1;
    } else if (two === "/*") {
      inBlock = true;
      i += 1;
    } else if (!inLine && !inBlock) out += source[i];
  }
  return out;
}

/** The index of the ")" that closes the "(" at `open`; -1 when there is none. */
function closing(text, open) {
  let depth = 0;
  for (let i = open; i < text.length; i += 1) {
    if (text[i] === "(") depth += 1;
    else if (text[i] === ")" && --depth === 0) return i;
  }
  return -1;
}

/** Where the first comma outside of brackets lies between from and to; -1 when there is none. */
function topComma(text, from, to) {
  let depth = 0;
  for (let i = from; i < to; i += 1) {
    if (text[i] === "(" || text[i] === "[") depth += 1;
    else if (text[i] === ")" || text[i] === "]") depth -= 1;
    else if (text[i] === "," && depth === 0) return i;
  }
  return -1;
}

/**
 * The body runs while a counter of its own is above 0; the compiler ends a while after 1,048,576 turns itself. MilkDrop
 * cuts the count to a whole number; below 0, where floor would differ, there is no turn either way.
 */
function countedLoop(count, body, number) {
  const left = `aivj_loop_${number}`;
  const turns = `while(exec3(${body}, ${left} = ${left} - 1, above(${left}, 0)))`;
  return `exec2(${left} = floor(${count}), if(above(${left}, 0), ${turns}, 0))`;
}

/**
 * The same equations with loop and assign written in other words; texts without them come back untouched. Throws an
 * Error for more than 1,000 of them: each costs a walk over the text, and real presets have 14 at most.
 */
export function mendEquations(source) {
  if (!CALL.test(source)) return source;
  if (source.match(CALLS).length > MAX_CALLS) throw new Error(`more than ${MAX_CALLS} times loop or assign`);
  let text = source.replace(COMMENT, " ");
  let number = 0;
  for (let match = CALL.exec(text); match; match = CALL.exec(text)) {
    const open = match.index + match[0].length - 1;
    const close = closing(text, open);
    const comma = close < 0 ? -1 : topComma(text, open + 1, close);
    if (comma < 0) return source; // malformed: the compiler says why
    const first = text.slice(open + 1, comma);
    const second = text.slice(comma + 1, close).replace(/[;\s]+$/, "");
    number += 1;
    const isLoop = match[1].toLowerCase() === "loop";
    const mended = isLoop ? countedLoop(first, second || "0", number) : `(${first.trim()} = (${second}))`;
    text = text.slice(0, match.index) + mended + text.slice(close + 1);
  }
  return text;
}
