// The equations of JSON presets, which are JavaScript that the engine compiles in this page: an allow-list of words.
//
// Belongs here: cutting a text into tokens, refusing what is not on the list, printing the tokens again so that the
// engine runs exactly what was checked (no comments, no other reading of the same characters). Does not belong here:
// whether the text is JavaScript at all (the engine's compiler says so), EEL (eel.js), what got past (realm.js).
//
// Nothing allowed reaches another object than the preset's own `a`, two of its arrays and pure functions: no text, no
// function as a value, no object of its own making, no name that is not declared here or by `var` in the same text.

const HELPERS = new Set(
  "sqr sqrt log10 sign rand randint bnot pow div mod bitor bitand sigmoid bor band equal above below ifcond memcpy".split(
    " ",
  ),
);
const MATH = new Set(
  (
    "abs acos acosh asin asinh atan atan2 atanh cbrt ceil cos cosh exp expm1 floor fround hypot log log10 log1p log2 " +
    "max min pow random round sign sin sinh sqrt tan tanh trunc"
  ).split(" "),
);
const CONSTANTS = new Set(["true", "false", "NaN", "Infinity"]);
const CONTROL = new Set(["if", "for", "while"]);
const KEYWORDS = new Set([...CONTROL, "var", "else", "do"]);
/** Members that every object has: never a preset's variable. */
const NEVER = new Set([...Object.getOwnPropertyNames(Object.prototype), "prototype"]);
const UNDECLARABLE = new Set([
  ...NEVER,
  ...KEYWORDS,
  ...HELPERS,
  ...CONSTANTS,
  "a",
  "Math",
  "eval",
  "arguments",
  "let",
]);
const MEMORY = new Set(["megabuf", "gmegabuf"]);

const COMMENT = /\/\*[^]*?(?:\*\/|$)|\/\/[^\n\r\u2028\u2029]*/g;
const PARTS = [
  /[A-Za-z_$][\w$]*/, // a word
  /0[xX][\da-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/, // a number
  /"[\w ]*"|'[\w ]*'/, // a text
  /=>|[=!]==|<<=|>>>?=?|<<|\*\*=?|&&|\|\||\+\+|--|[-+*/%&|^<>=!]=|[-+*/%&|^~<>=!?:,;(){}[\]]/, // an operator or bracket
  /[\n\r\u2028\u2029]/, // the end of a line
  /[^ \t\f\v]/, // anything else, which is refused
];
const TOKEN = new RegExp(PARTS.map((part) => part.source).join("|"), "g");
const NAME = /^[A-Za-z_$]/;
const NUMBER = /^\.?\d/;
const TEXT = /^["']/;
const OPERATOR = /^(?:[-+*/%&|^~<>=!]+|[?:,;(){}])$/;
const BREAK = /^[\n\r\u2028\u2029]$/;

function tokensOf(text) {
  const plain = text.replace(COMMENT, (found) => (/[\n\r\u2028\u2029]/.test(found) ? "\n" : " "));
  const tokens = [];
  const breaks = new Set(); // indices of tokens that begin a line
  for (const token of plain.match(TOKEN) || []) {
    if (BREAK.test(token)) breaks.add(tokens.length);
    else tokens.push(token);
  }
  return { tokens, breaks };
}

class Refusal extends Error {}

function refuse(word) {
  throw new Refusal(word.length > 40 ? `${word.slice(0, 40)}…` : word);
}

/** Names that `var` declares. A list ends where a line ends without a comma: JavaScript may end it there too. */
function declaredNames({ tokens, breaks }) {
  const names = new Set();
  for (let i = 0; i < tokens.length; i += 1) {
    if (tokens[i] !== "var") continue;
    let depth = 0;
    for (let at = i + 1; at < tokens.length; at += 1) {
      const token = tokens[at];
      const atName = at === i + 1 || (depth === 0 && tokens[at - 1] === ",");
      if (atName && NAME.test(token)) names.add(token);
      if ("([{".includes(token)) depth += 1;
      else if (")]}".includes(token)) depth -= 1;
      if (depth < 0 || token === ";" || (breaks.has(at + 1) && token !== ",")) break;
    }
  }
  for (const name of names) if (UNDECLARABLE.has(name)) refuse(name);
  return names;
}

/** What a member of `a` may be: any name but those that all objects have. */
function checkMember(name) {
  if (!NAME.test(name ?? "") || NEVER.has(name)) refuse(name ?? "the end of the text");
  if (name.startsWith("__")) refuse(name);
}

/** a.word and a["word"] at `at`; returns the index of its last token. */
function checkVariable(tokens, at) {
  const isMember = tokens[at + 1] === ".";
  const name = isMember ? tokens[at + 2] : TEXT.test(tokens[at + 2] ?? "") ? tokens[at + 2].slice(1, -1) : undefined;
  if (!isMember && (tokens[at + 1] !== "[" || tokens[at + 3] !== "]")) refuse(`a ${tokens[at + 1] ?? ""}`.trim());
  checkMember(name);
  const end = isMember ? at + 2 : at + 3;
  const next = tokens[end + 1];
  if (next === "(") refuse(`a.${name}(`);
  if (MEMORY.has(name) && next !== "[" && !(tokens[at - 1] === "(" && tokens[at - 2] === "memcpy")) {
    refuse(`a.${name} ${next ?? ""}`.trim());
  }
  return end;
}

/** A "/" divides only what is a value: elsewhere it would begin a regular expression. */
function checkSlash(tokens, at, closers) {
  const before = tokens[at - 1] ?? "";
  const isValue = NAME.test(before) ? !KEYWORDS.has(before) : NUMBER.test(before) || before === "]" || before === ")";
  if (!isValue || closers.has(at - 1)) refuse("/");
}

/** "}" and "{" are blocks only, never objects. */
function checkBrace(tokens, at) {
  const before = tokens[at - 1];
  if (before !== undefined && !/^[;{})]$/.test(before) && before !== "else" && before !== "do") refuse("{");
}

/** The tokens of [] or "x y".split(" ") after `a.rkeys =`, which converters left and no engine reads; else 0. */
function keyList(tokens, at) {
  if (tokens[at - 1] !== "=" || tokens[at - 2] !== "rkeys" || tokens[at - 3] !== ".") return 0;
  if (tokens[at] === "[" && tokens[at + 1] === "]") return 2;
  const call = tokens.slice(at + 1, at + 6);
  const isSplit = TEXT.test(tokens[at]) && /^\. split \( (["']) \1 \)$/.test(call.join(" "));
  return isSplit ? 6 : 0;
}

function checkWord(tokens, at, declared) {
  const token = tokens[at];
  const next = tokens[at + 1];
  if (HELPERS.has(token)) {
    if (next !== "(") refuse(token);
  } else if (token === "Math") {
    if (next !== "." || !MATH.has(tokens[at + 2]) || tokens[at + 3] !== "(") refuse(`Math.${tokens[at + 2] ?? ""}`);
  } else if (KEYWORDS.has(token)) {
    if (token === "var" && !NAME.test(next ?? "")) refuse(`var ${next ?? ""}`.trim());
    if (CONTROL.has(token) && next !== "(") refuse(token);
  } else if (!CONSTANTS.has(token) && (!declared.has(token) || next === "(")) refuse(token);
  return token === "Math" ? at + 2 : at;
}

/** Walks over all tokens; returns those to print, each with the index of the token it begins at. */
function checked({ tokens, breaks }) {
  const declared = declaredNames({ tokens, breaks });
  const open = []; // for every open bracket: whether its ")" ends the head of an if, for or while
  const closers = new Set();
  const printed = [];
  for (let at = 0; at < tokens.length; at += 1) {
    const token = tokens[at];
    const skip = keyList(tokens, at);
    let last = at;
    if (skip > 0) {
      printed.push("0");
      at += skip - 1;
      continue;
    }
    if (token === "a") last = checkVariable(tokens, at);
    else if (NAME.test(token)) last = checkWord(tokens, at, declared);
    else if (token === "[") {
      if (!MEMORY.has(tokens[at - 1]) || tokens[at - 2] !== ".") refuse("[");
    } else if (token === "/" || token === "/=") checkSlash(tokens, at, closers);
    else if (token === "{") checkBrace(tokens, at);
    else if (token === "(") {
      if (tokens[at - 1] === "]" || (tokens[at - 1] === ")" && !closers.has(at - 1))) refuse("(");
      open.push(CONTROL.has(tokens[at - 1]));
    } else if (token === ")" && open.pop()) closers.add(at);
    else if (token === "=>" || (!NUMBER.test(token) && !OPERATOR.test(token) && token !== "]")) refuse(token);
    for (; at <= last; at += 1) printed.push(breaks.has(at) ? `\n${tokens[at]}` : tokens[at]);
    at = last;
  }
  return printed;
}

/** The same equations, checked and printed anew: {text, offence}; `offence` names what is not allowed, else "". */
export function checkScript(text) {
  try {
    return { text: checked(tokensOf(text)).join(" "), offence: "" };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { text: "", offence: error.message };
  }
}
