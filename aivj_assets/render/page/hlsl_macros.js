// A small C preprocessor for HLSL: comments, #define with and without arguments, #undef, #if …; the HLSL parser
// knows no directive at all. What is not understood throws: a branch is never left out silently.
//
// Belongs here: text → text without directives. Does not belong here: what an #if comes to
// (hlsl_condition.js), anything about MilkDrop (hlsl_prelude.js).

import { evaluate } from "/page/hlsl_condition.js";

const TOKEN = /[A-Za-z_]\w*|\d[\w.]*|\.\d\w*|[^]/g;
const NAME = /^[A-Za-z_]\w*$/;
const MAX_DEPTH = 40;
// Characters read at all levels of expansion together; real presets come to 5,606.
const MAX_WORK = 400000;

class Budget {
  left = MAX_WORK;

  spend(characters) {
    this.left -= characters;
    if (this.left < 0) throw new Error("the shader's macros grow without end");
  }
}

export function stripComments(source) {
  return source.replace(/\/\*[^]*?(\*\/|$)|\/\/[^\n]*/g, (found) => found.replace(/[^\n]+/g, " "));
}

/** The arguments of a call whose "(" is at tokens[start]; null when there is no complete call. */
function readArguments(tokens, start, budget) {
  let at = start;
  while (at < tokens.length && /^\s$/.test(tokens[at])) at += 1;
  if (tokens[at] !== "(") return null;
  const found = [];
  let depth = 0;
  let current = "";
  for (; at < tokens.length; at += 1) {
    const token = tokens[at];
    budget.spend(token.length);
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

function substitute(macro, args, budget) {
  const byName = new Map(macro.parameters.map((name, i) => [name, args[i] ?? ""]));
  let out = "";
  for (const token of macro.body.match(TOKEN) || []) {
    const put = byName.has(token) ? byName.get(token) : token;
    budget.spend(put.length);
    out += put;
  }
  return out.replace(/\s*##\s*/g, "");
}

function expand(text, macros, hidden, depth, budget) {
  budget.spend(text.length);
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
      out += expand(macro.body, macros, inside, depth + 1, budget);
      continue;
    }
    const call = readArguments(tokens, i + 1, budget);
    if (!call) {
      out += token;
      continue;
    }
    const args = call.args.map((arg) => expand(arg, macros, hidden, depth + 1, budget));
    out += expand(substitute(macro, args, budget), macros, inside, depth + 1, budget);
    i = call.end - 1;
  }
  return out;
}

function define(rest, macros) {
  const match = /^([A-Za-z_]\w*)(?:\(([^)]*)\)|(?![\w(]))\s*([^]*)$/.exec(rest.trim());
  if (!match) throw new Error(`#define${rest.slice(0, 60)} is not understood`);
  const parameters =
    match[2] === undefined
      ? null
      : match[2]
          .split(",")
          .map((name) => name.trim())
          .filter(Boolean);
  macros.set(match[1], { parameters, body: match[3].trim() });
}

/** The one name after #ifdef, #ifndef, #undef. */
function nameAfter(directive, rest) {
  const name = rest.trim();
  if (!NAME.test(name)) throw new Error(`#${directive} ${name.slice(0, 60)} is not understood`);
  return name;
}

function holds(condition, macros, budget) {
  const known = condition.replace(/\bdefined\b\s*(?:\(\s*([A-Za-z_]\w*)\s*\)|([A-Za-z_]\w*))/g, (_, inner, bare) =>
    macros.has(inner ?? bare) ? " 1 " : " 0 ",
  );
  try {
    if (/\bdefined\b/.test(known)) throw new Error("defined wants a name");
    return evaluate(expand(known, macros, new Set(), 0, budget)) !== 0;
  } catch (error) {
    throw new Error(`#if ${condition.trim().slice(0, 60)}: ${error.message}`);
  }
}

const CONDITIONALS = new Set(["if", "ifdef", "ifndef", "elif", "else", "endif"]);

/** Follows #if, #ifdef, #ifndef, #elif, #else, #endif; `on`: whether the lines before it are in use. */
function branch(name, rest, stack, macros, on, budget) {
  if (name === "if" || name === "ifdef" || name === "ifndef") {
    // What is left out anyway is not asked, it may be anything.
    let taken = !on;
    const isDefined = () => macros.has(nameAfter(name, rest));
    if (on) taken = name === "if" ? holds(rest, macros, budget) : isDefined() === (name === "ifdef");
    stack.push({ on: on && taken, taken, closed: false });
    return;
  }
  const top = stack[stack.length - 1];
  if (!top || (top.closed && name !== "endif")) throw new Error(`#${name} without #if`);
  if (name === "endif") stack.pop();
  else {
    top.on = !top.taken && (name === "else" || holds(rest, macros, budget));
    top.taken = top.taken || top.on;
    top.closed = name === "else";
  }
}

function obey(name, rest, macros) {
  if (name === "define") define(rest, macros);
  else if (name === "undef") macros.delete(nameAfter(name, rest));
  else if (name !== "pragma" && name + rest.trim() !== "") throw new Error(`#${name} is not understood`);
}

/** Expands `source`; `predefined`: [["NAME", ["parameter", …] or null, "body"], …]. Throws an Error. */
export function preprocess(source, predefined) {
  const macros = new Map(predefined.map(([name, parameters, body]) => [name, { parameters, body }]));
  const stack = [];
  const budget = new Budget();
  let out = "";
  let pending = "";
  const flush = () => {
    out += expand(pending, macros, new Set(), 0, budget);
    pending = "";
  };
  for (const line of stripComments(source)
    .replace(/\\[ \t]*\n/g, " ")
    .split("\n")) {
    const directive = /^\s*#\s*(\w*)(.*)$/.exec(line);
    const on = stack.every((level) => level.on);
    if (!directive) {
      if (on) pending += `${line}\n`;
      continue;
    }
    flush();
    const [, name, rest] = directive;
    if (CONDITIONALS.has(name)) branch(name, rest, stack, macros, on, budget);
    else if (on) obey(name, rest, macros);
  }
  if (stack.length > 0) throw new Error("an #if without #endif");
  flush();
  return out;
}
