// The value of an #if or #elif expression, as a C preprocessor has it.
//
// Belongs here: text without macros → number. Does not belong here: macros and `defined` (hlsl_macros.js).

import { tooNested } from "/page/nesting.js";

/** Each bracket costs as many calls as there are kinds of operators. */
const MAX_DEPTH = 100;

const PARTS = [
  /(0[xX][\da-fA-F]+|\d+\.?\d*|\.\d+)[uUlLfF]*(?![\w.])/, // a number
  /([A-Za-z_]\w*)/, // a name
  /(<<|>>|[<>=!]=|&&|\|\||[-+*/%&|^~!<>()?:])/, // an operator
];
const TOKEN = new RegExp(`\\s*(?:${PARTS.map((part) => part.source).join("|")})`, "y");

/** Binary operators from the loosest to the tightest. */
const LEVELS = [
  { "||": (x, y) => Number(x !== 0 || y !== 0) },
  { "&&": (x, y) => Number(x !== 0 && y !== 0) },
  { "|": (x, y) => x | y },
  { "^": (x, y) => x ^ y },
  { "&": (x, y) => x & y },
  { "==": (x, y) => Number(x === y), "!=": (x, y) => Number(x !== y) },
  {
    "<": (x, y) => Number(x < y),
    ">": (x, y) => Number(x > y),
    "<=": (x, y) => Number(x <= y),
    ">=": (x, y) => Number(x >= y),
  },
  { "<<": (x, y) => x << y, ">>": (x, y) => x >> y },
  { "+": (x, y) => x + y, "-": (x, y) => x - y },
  { "*": (x, y) => x * y, "/": divide, "%": (x, y) => x % y },
];
const UNARY = { "!": (x) => Number(x === 0), "-": (x) => -x, "+": (x) => x, "~": (x) => ~x };

/** Whole numbers divide to whole numbers. */
function divide(x, y) {
  return Number.isInteger(x) && Number.isInteger(y) ? Math.trunc(x / y) : x / y;
}

function tokensOf(text) {
  const tokens = [];
  TOKEN.lastIndex = 0;
  const whole = text.trim();
  while (TOKEN.lastIndex < whole.length) {
    const from = TOKEN.lastIndex;
    const match = TOKEN.exec(whole);
    if (!match) throw new Error(`"${whole.slice(from).trim().slice(0, 20)}" is not understood`);
    // A name that is no macro counts as 0.
    tokens.push(match[1] !== undefined ? Number(match[1]) : match[2] !== undefined ? 0 : match[3]);
  }
  return tokens;
}

/** The value of `text`; throws for what is no expression, a division by zero included. */
export function evaluate(text) {
  const refused = tooNested(text, MAX_DEPTH);
  if (refused) throw new Error(refused);
  const tokens = tokensOf(text);
  let at = 0;
  const take = (wanted) => {
    if (tokens[at] !== wanted) throw new Error(`"${wanted}" is missing`);
    at += 1;
  };
  function operand() {
    const token = tokens[at];
    at += 1;
    if (typeof token === "number") return token;
    if (token in UNARY) return UNARY[token](operand());
    if (token !== "(") throw new Error(token === undefined ? "it ends too early" : `"${token}" is not expected there`);
    const value = choice();
    take(")");
    return value;
  }
  function binary(level) {
    if (level === LEVELS.length) return operand();
    let left = binary(level + 1);
    while (typeof tokens[at] === "string" && Object.hasOwn(LEVELS[level], tokens[at])) {
      const operator = LEVELS[level][tokens[at]];
      at += 1;
      left = operator(left, binary(level + 1));
    }
    return left;
  }
  function choice() {
    const value = binary(0);
    if (tokens[at] !== "?") return value;
    at += 1;
    const then = choice();
    take(":");
    const otherwise = choice();
    return value !== 0 ? then : otherwise;
  }
  const value = choice();
  if (at < tokens.length) throw new Error(`"${tokens[at]}" is not expected there`);
  if (!Number.isFinite(value)) throw new Error("it has no value");
  return value;
}
