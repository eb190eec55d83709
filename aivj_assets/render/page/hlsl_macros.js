// A small C preprocessor for HLSL: comments, #define with and without arguments, #undef, #if …; the HLSL parser
// knows no directive at all.
//
// Belongs here: text → text without directives. Does not belong here: anything about MilkDrop (hlsl_prelude.js).

const TOKEN = /[A-Za-z_]\w*|\d[\w.]*|\.\d\w*|[^]/g;
const NAME = /^[A-Za-z_]\w*$/;
const MAX_DEPTH = 40;
const MAX_LENGTH = 400000;

export function stripComments(source) {
  return source.replace(/\/\*[^]*?(\*\/|$)|\/\/[^\n]*/g, (found) => found.replace(/[^\n]+/g, " "));
}

/** The arguments of a call whose "(" is at tokens[start]; null when there is no complete call. */
function readArguments(tokens, start) {
  let at = start;
  while (at < tokens.length && /^\s$/.test(tokens[at])) at += 1;
  if (tokens[at] !== "(") return null;
  const found = [];
  let depth = 0;
  let current = "";
  for (; at < tokens.length; at += 1) {
    const token = tokens[at];
    if (token === "(" && depth++ === 0) continue;
    if (token === ")") {
      depth -= 1;
      if (depth === 0) return { args: [...found, current.trim()], end: at + 1 };
    }
    if (token === "," && depth === 1) {
      found.push(current.trim());
      current = "";
    } else current += token;
  }
  return null;
}

function substitute(macro, args) {
  const byName = new Map(macro.parameters.map((name, i) => [name, args[i] ?? ""]));
  const body = macro.body.match(TOKEN) || [];
  return body
    .map((token) => (byName.has(token) ? byName.get(token) : token))
    .join("")
    .replace(/\s*##\s*/g, "");
}

function expand(text, macros, hidden, depth) {
  if (depth > MAX_DEPTH) return text;
  const tokens = text.match(TOKEN) || [];
  let out = "";
  for (let i = 0; i < tokens.length; i += 1) {
    const token = tokens[i];
    const macro = NAME.test(token) && !hidden.has(token) ? macros.get(token) : undefined;
    if (!macro) {
      out += token;
      continue;
    }
    const inside = new Set([...hidden, token]);
    if (!macro.parameters) {
      out += expand(macro.body, macros, inside, depth + 1);
      continue;
    }
    const call = readArguments(tokens, i + 1);
    if (!call) {
      out += token;
      continue;
    }
    const args = call.args.map((arg) => expand(arg, macros, hidden, depth + 1));
    out += expand(substitute(macro, args), macros, inside, depth + 1);
    if (out.length > MAX_LENGTH) throw new Error("the shader's macros grow without end");
    i = call.end - 1;
  }
  return out;
}

function define(rest, macros) {
  const match = /^([A-Za-z_]\w*)(\(([^)]*)\))?\s*([^]*)$/.exec(rest.trim());
  if (!match) return;
  const parameters = match[2]
    ? match[3]
        .split(",")
        .map((name) => name.trim())
        .filter(Boolean)
    : null;
  macros.set(match[1], { parameters, body: match[4].trim() });
}

function holds(condition, macros) {
  const known = condition.replace(/defined\s*\(?\s*(\w+)\s*\)?/g, (_, name) => (macros.has(name) ? "1" : "0"));
  const value = expand(known, macros, new Set(), 0).trim();
  const compare = /^\(?\s*(-?[\d.]+)\s*(?:(==|!=|>=|<=|>|<)\s*(-?[\d.]+))?\s*\)?$/.exec(value);
  if (!compare) return false;
  const [left, right] = [Number(compare[1]), Number(compare[3])];
  if (!compare[2]) return left !== 0;
  if (compare[2] === "==") return left === right;
  if (compare[2] === "!=") return left !== right;
  if (compare[2] === ">=") return left >= right;
  if (compare[2] === "<=") return left <= right;
  return compare[2] === ">" ? left > right : left < right;
}

/** Follows #if, #ifdef, #ifndef, #elif, #else, #endif; returns whether the directive was one of them. */
function branch(name, rest, stack, macros) {
  const top = stack[stack.length - 1];
  const defined = () => macros.has(rest.trim());
  if (name === "if" || name === "ifdef" || name === "ifndef") {
    const on = name === "if" ? holds(rest, macros) : defined() === (name === "ifdef");
    stack.push({ on, taken: on });
  } else if (name === "elif" && top) {
    top.on = !top.taken && holds(rest, macros);
    top.taken = top.taken || top.on;
  } else if (name === "else" && top) {
    top.on = !top.taken;
    top.taken = true;
  } else if (name === "endif") stack.pop();
  else return false;
  return true;
}

/** Expands `source`; `predefined`: [["NAME", ["parameter", …] or null, "body"], …]. */
export function preprocess(source, predefined) {
  const macros = new Map(predefined.map(([name, parameters, body]) => [name, { parameters, body }]));
  const stack = [];
  let out = "";
  let pending = "";
  const flush = () => {
    out += expand(pending, macros, new Set(), 0);
    pending = "";
  };
  for (const line of stripComments(source)
    .replace(/\\[ \t]*\n/g, " ")
    .split("\n")) {
    const directive = /^\s*#\s*([a-z]+)(.*)$/.exec(line);
    const on = stack.every((level) => level.on);
    if (!directive) {
      if (on) pending += `${line}\n`;
      continue;
    }
    flush();
    const [, name, rest] = directive;
    if (branch(name, rest, stack, macros) || !on) continue;
    if (name === "define") define(rest, macros);
    else if (name === "undef") macros.delete(rest.trim());
  }
  flush();
  return out;
}
