// Loops in a shader's GLSL: each one ends, on every driver and with the same picture.
//
// Belongs here: telling loops that count to a fixed number from all others, and the bound that those get. Does not
// belong here: HLSL, what else a shader may hold. A driver may take a loop that it cannot see the end of for dead
// code and show whatever lies in its registers (Mesa does), or hang the GPU; counted loops stay as they are, so that
// drivers unroll them as before.

import { preprocess } from "/page/hlsl_macros.js";

/** Turns that all bounded loops of a shader take together, per pixel; llvmpipe ends each loop after as many. */
const MAX_TURNS = 65536;

const LOOP = /\b(?:for|while|do)\b/;
const PARTS = [
  /[A-Za-z_]\w*/, // a word
  /(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\w*/, // a number
  /<<=|>>=|[-+*/%&|^<>=!]=|\+\+|--|&&|\|\||\^\^|\S/, // an operator or bracket
];
const TOKEN = new RegExp(PARTS.map((part) => part.source).join("|"), "g");
const WORD = /^[A-Za-z_]/;
const NUMBER = /^(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fu]?$/i;
const ASSIGNS = /^(?:<<|>>|[-+*/%&|^])?=$/;
/** Callees that leave their arguments alone; any other may have an out parameter. */
const PURE = /^(?:float|u?int|bool|[iub]?vec[234]|sin|cos|tan|abs|sqrt|exp|floor|fract|mod|pow|min|max|if)$/;
const MACROS = [
  ["GL_ES", null, "1"],
  ["GL_FRAGMENT_PRECISION_HIGH", null, "1"],
  ["__VERSION__", null, "300"],
  ...Array.from({ length: 32 }, (_, i) => [`q${i + 1}`, null, `q${i + 1}`]), // the engine's, which #ifdef may ask for
];

const COMPARISONS = {
  "<": (x, y) => x < y,
  "<=": (x, y) => x <= y,
  ">": (x, y) => x > y,
  ">=": (x, y) => x >= y,
};

function closing(tokens, open) {
  let depth = 0;
  for (let i = open; i < tokens.length; i += 1) {
    if ("([{".includes(tokens[i].text)) depth += 1;
    else if (")]}".includes(tokens[i].text) && --depth === 0) return i;
  }
  return -1;
}

/** The head of the loop at tokens[at]: its brackets and, of a for, its two semicolons. */
function readHead(tokens, at) {
  const { text } = tokens[at];
  const open = at + 1;
  const close = tokens[open]?.text === "(" ? closing(tokens, open) : -1;
  const semicolons = [];
  for (let i = open, depth = 0; i < close; i += 1) {
    if ("([{".includes(tokens[i].text)) depth += 1;
    else if (")]}".includes(tokens[i].text)) depth -= 1;
    else if (tokens[i].text === ";" && depth === 1) semicolons.push(i);
  }
  if (close < 0 || semicolons.length !== (text === "for" ? 2 : 0)) throw new Error(`a ${text} without a proper head`);
  return { at, open, close, semicolons };
}

/** Where the statement after the head ends, or the block that it stands in: no earlier than the loop's body. */
function bodyEnd(tokens, close) {
  if (tokens[close + 1]?.text === "{") {
    const end = closing(tokens, close + 1);
    return end < 0 ? tokens.length : end;
  }
  let depth = 0;
  for (let i = close + 1; i < tokens.length; i += 1) {
    if (tokens[i].text === "{") depth += 1;
    else if (tokens[i].text === "}" && --depth < 0) return i;
  }
  return tokens.length;
}

/** Whether code between from and to may give `name` another value. */
function mayChange(tokens, from, to, name) {
  const open = []; // what stands before each open bracket
  for (let i = from; i < to; i += 1) {
    const { text } = tokens[i];
    if (text === "(") open.push(tokens[i - 1].text);
    else if (text === ")") open.pop();
    if (text !== name) continue;
    const [before, after] = [tokens[i - 1].text, tokens[i + 1]?.text ?? ""];
    if (ASSIGNS.test(after) || [before, after].some((word) => word === "++" || word === "--")) return true;
    const alone = (before === "(" || before === ",") && (after === ")" || after === ",");
    if (alone && !PURE.test(open[open.length - 1] ?? "")) return true;
  }
  return false;
}

/** The words between two tokens without brackets and conversions to float: (float(n) <= 6.0) → n <= 6.0. */
function bare(tokens, from, to) {
  const words = tokens.slice(from, to).map(({ text }) => text);
  return words.filter((word) => word !== "(" && word !== ")" && word !== "float");
}

function stepOf(words, name) {
  const [first, second, third] = words;
  if (words.length === 2 && words.includes(name)) {
    const operator = first === name ? second : first;
    return operator === "++" ? 1 : operator === "--" ? -1 : 0;
  }
  if (words.length !== 3 || first !== name || !NUMBER.test(third)) return 0;
  return second === "+=" ? parseFloat(third) : second === "-=" ? -parseFloat(third) : 0;
}

/** How often `for (int i = 0; i < 10; i++)` and its like turn; Infinity when that does not stand in the head. */
function turnsOf(tokens, { open, close, semicolons }) {
  const [first, second] = semicolons;
  const [type, name, equals, ...start] = tokens.slice(open + 1, first).map(({ text }) => text);
  const startText = start.join("");
  const [left, comparison, limit, ...more] = bare(tokens, first + 1, second);
  const step = stepOf(bare(tokens, second + 1, close), name);
  const isCount = (type === "int" || type === "float") && equals === "=" && NUMBER.test(startText.replace(/^-/, ""));
  const isLimit = left === name && Object.hasOwn(COMPARISONS, comparison) && NUMBER.test(limit) && more.length === 0;
  if (!isCount || !isLimit || step === 0) return Infinity;
  if (mayChange(tokens, close + 1, bodyEnd(tokens, close), name)) return Infinity;
  let turns = 0;
  const [last, round] = [parseFloat(limit), type === "int" ? Math.trunc : Math.fround];
  for (let i = round(parseFloat(startText)); COMPARISONS[comparison](i, last); i = round(i + step)) {
    turns += 1;
    if (turns > MAX_TURNS) return Infinity;
  }
  return turns;
}

/** The heads of the loops that need a bound: all but counted ones, nested ones multiplied. */
function unbounded(tokens) {
  const found = [];
  const around = []; // counted loops that the token in hand stands in: {end, turns}
  for (let at = 0; at < tokens.length; at += 1) {
    while (around.length > 0 && around[around.length - 1].end < at) around.pop();
    const { text } = tokens[at];
    if (text !== "for" && text !== "while") continue;
    const head = readHead(tokens, at);
    const outer = around.length > 0 ? around[around.length - 1].turns : 1;
    const turns = text === "for" ? outer * turnsOf(tokens, head) : Infinity;
    if (turns <= MAX_TURNS) around.push({ end: bodyEnd(tokens, head.close), turns: Math.max(turns, outer) });
    else found.push(head);
  }
  return found;
}

/**
 * [[index, text], …] to put in for one loop: at the end of its block, where a driver optimises the loop as it did
 * before and rounds the same, else, as `continue` would pass that by, in its condition.
 */
function boundsFor(tokens, { open, close, semicolons }, name) {
  const end = bodyEnd(tokens, close);
  const isBlock = tokens[close + 1]?.text === "{" && end < tokens.length;
  const passesEnd = tokens.slice(close, end).some(({ text }) => text === "continue");
  if (isBlock && !passesEnd) return [[tokens[end].index, ` if (++${name} >= ${MAX_TURNS}) break;\n`]];
  const [first, last] = semicolons.length > 0 ? semicolons : [open, close];
  const from = tokens[first].index + 1;
  if (last === first + 1) return [[from, ` ++${name} < ${MAX_TURNS}`]];
  return [
    [from, ` ++${name} < ${MAX_TURNS} && (`],
    [tokens[last].index, ")"],
  ];
}

function freeName(text) {
  let number = 0;
  while (text.includes(`aivj_turns${number}`)) number += 1;
  return `aivj_turns${number}`;
}

/**
 * The shader text with every loop bounded that does not count to a fixed number; a text without one comes back
 * untouched. Directives are obeyed first: a macro may hold a loop or change its variable. Throws an Error for a text
 * whose loops cannot be read.
 */
export function boundLoops(text) {
  const joined = text.replace(/\r\n?/g, "\n").replace(/\\\n/g, "");
  if (!LOOP.test(joined)) return text;
  const hasDirectives = joined.includes("#") || joined !== text;
  const plain = preprocess(joined, hasDirectives ? MACROS : []);
  if (plain.includes("#") || plain.includes("\\")) throw new Error("# or \\ in a text with loops");
  const tokens = [...plain.matchAll(TOKEN)].map(({ 0: token, index }) => ({ text: token, index }));
  const heads = unbounded(tokens);
  if (heads.length === 0) return hasDirectives ? plain : text;
  const name = freeName(plain);
  const inserts = heads.flatMap((head) => boundsFor(tokens, head, name));
  let bounded = `int ${name} = 0; `; // on the same line: messages keep their numbers
  let from = 0;
  for (const [index, insert] of inserts.sort(([a], [b]) => a - b)) {
    bounded += plain.slice(from, index) + insert;
    from = index;
  }
  return bounded + plain.slice(from);
}
