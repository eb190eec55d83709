// Source-to-source changes that make a MilkDrop shader digestible for the HLSL parser, one function a change.
//
// Belongs here: HLSL tokens in, HLSL tokens out. Does not belong here: macros (hlsl_macros.js), GLSL (glsl.js),
// names that stand fixed (hlsl_prelude.js).

import { ENGINE_NAMES, ENGINE_TEXTURES, LIBRARY_NAMES, RESERVED_NAMES } from "/page/hlsl_prelude.js";

const TOKEN = /[A-Za-z_]\w*|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fFhHlLuU]?|<=|>=|==|!=|&&|\|\||\+\+|--|[-+*/%]=|\S/g;
const WORD = /^[A-Za-z_]/;
const NUMBER = /^[.\d]/;
const TYPE = /^(?:float|int|bool)(?:[234](?:x[234])?)?$/;
const QUALIFIER = /^(?:static|const|uniform|extern|row_major|column_major|precise)$/;
const CLOSES = { "(": ")", "[": "]", "{": "}" };
const OPENS = { ")": "(", "]": "[", "}": "{" };

function closing(tokens, open) {
  let depth = 0;
  for (let i = open; i < tokens.length; i += 1) {
    if (tokens[i] in CLOSES) depth += 1;
    else if (tokens[i] in OPENS && --depth === 0) return i;
  }
  return -1;
}

function opening(tokens, close) {
  let depth = 0;
  for (let i = close; i >= 0; i -= 1) {
    if (tokens[i] in OPENS) depth += 1;
    else if (tokens[i] in CLOSES && --depth === 0) return i;
  }
  return -1;
}

/** tokens[from..to) cut at commas that lie in no bracket. */
function splitAtCommas(tokens, from, to) {
  const parts = [[]];
  let depth = 0;
  for (let i = from; i < to; i += 1) {
    if (tokens[i] in CLOSES) depth += 1;
    else if (tokens[i] in OPENS) depth -= 1;
    if (tokens[i] === "," && depth === 0) parts.push([]);
    else parts[parts.length - 1].push(tokens[i]);
  }
  return parts;
}

/** float1 and double3 are float and float3; half has no precision of its own here. */
function plainTypes(tokens) {
  return tokens.map((token) => {
    const match = /^(float|double|half|int|uint|dword|bool)(1|[234](?:x[234])?)?$/i.exec(token);
    if (!match) return token;
    const base = /^(double|half|float)$/i.test(match[1]) ? "float" : match[1].toLowerCase() === "bool" ? "bool" : "int";
    return base + (match[2] && match[2] !== "1" ? match[2] : "");
  });
}

/** Intrinsics that the parser lacks or resolves wrongly go to our library; names that GLSL keeps get a prefix. */
function safeNames(tokens) {
  return tokens.map((token, i) => {
    if (tokens[i - 1] === ".") return token;
    if (tokens[i + 1] === "(" && LIBRARY_NAMES.has(token)) return `hl_${token}`;
    if (RESERVED_NAMES.has(token) && !(tokens[i + 1] === "(" && LIBRARY_NAMES.has(token))) return `hl_${token}`;
    return token;
  });
}

const EFFECT = /^(?:[-+*/%]?=|\+\+|--)$/;

/** Whether leaving these tokens out could change anything: they assign or call something. */
function hasEffect(tokens) {
  return tokens.some(
    (token, i) => EFFECT.test(token) || (tokens[i + 1] === "(" && WORD.test(token) && !TYPE.test(token)),
  );
}

/** (a, b) that is no argument list is the comma operator: its value is b. Throws where a does something. */
function commaOperator(tokens) {
  let out = tokens;
  for (let i = 0; i < out.length; i += 1) {
    const before = out[i - 1];
    if (out[i] !== "(" || (before !== undefined && WORD.test(before) && before !== "return")) continue;
    const end = closing(out, i);
    if (end < 0) break;
    const parts = splitAtCommas(out, i + 1, end);
    if (parts.slice(0, -1).some(hasEffect)) throw new Error("a comma operator whose dropped operand does something");
    if (parts.length > 1) out = [...out.slice(0, i + 1), ...parts[parts.length - 1], ...out.slice(end)];
  }
  return out;
}

/** T a = 1, b; → T a = 1; T b; and T a = {1, 2}; → T a = T(1, 2); the parser knows neither. */
function plainDeclarations(tokens) {
  const out = [];
  for (let i = 0; i < tokens.length; i += 1) {
    const before = out[out.length - 1];
    const atStart = before === undefined || before === ";" || before === "{" || before === "}";
    let type = i;
    while (QUALIFIER.test(tokens[type] ?? "")) type += 1;
    if (!atStart || !TYPE.test(tokens[type] ?? "") || !WORD.test(tokens[type + 1] ?? "") || tokens[type + 2] === "(") {
      out.push(tokens[i]);
      continue;
    }
    let end = type + 1;
    let depth = 0;
    for (; end < tokens.length; end += 1) {
      if (tokens[end] in CLOSES) depth += 1;
      else if (tokens[end] in OPENS) depth -= 1;
      if (tokens[end] === ";" && depth === 0) break;
    }
    for (const declarator of splitAtCommas(tokens, type + 1, end)) {
      out.push(...tokens.slice(i, type + 1), ...fromBraces(declarator, tokens[type]), ";");
    }
    i = end;
  }
  return out;
}

function fromBraces(declarator, type) {
  const at = declarator.indexOf("=");
  if (at < 0 || declarator[at + 1] !== "{" || declarator[1] === "[") return declarator;
  const inside = declarator.slice(at + 2, -1).filter((token) => token !== "{" && token !== "}");
  return [...declarator.slice(0, at + 1), type, "(", ...inside, ")"];
}

/** a = 1, b = 2; → { a = 1; b = 2; } */
function commaStatements(tokens) {
  const out = [];
  for (let i = 0; i < tokens.length; i += 1) {
    out.push(tokens[i]);
    if (!/^[;{})]$/.test(tokens[i]) && tokens[i] !== "else" && i > 0) continue;
    const first = i === 0 && !/^[;{}]$/.test(tokens[0]) ? 0 : i + 1;
    const found = statementWithCommas(tokens, first);
    if (!found) continue;
    if (first === 0) out.pop();
    out.push("{", ...found.parts.flatMap((part) => [...part, ";"]), "}");
    i = found.end;
  }
  return out;
}

/** The expression statement at `first` when commas divide it outside of all brackets, else null. */
function statementWithCommas(tokens, first) {
  if (!WORD.test(tokens[first] ?? "") || TYPE.test(tokens[first]) || QUALIFIER.test(tokens[first])) return null;
  let depth = 0;
  for (let end = first; end < tokens.length; end += 1) {
    if (tokens[end] === "{" || tokens[end] === "}") return null;
    if (tokens[end] in CLOSES) depth += 1;
    else if (tokens[end] in OPENS && --depth < 0) return null;
    if (tokens[end] !== ";") continue;
    if (depth !== 0) return null;
    const parts = splitAtCommas(tokens, first, end);
    return parts.length > 1 && parts.every((part) => part.length > 0) ? { parts, end } : null;
  }
  return null;
}

/** for (n = 1; …) → n = 1; for (int unused = 0; …): the parser wants a declaration there. */
function forLoops(tokens) {
  const out = [];
  let count = 0;
  for (let i = 0; i < tokens.length; i += 1) {
    const init = tokens[i] === "for" && tokens[i + 1] === "(" ? tokens[i + 2] : undefined;
    const end = tokens.indexOf(";", i);
    if (init === undefined || TYPE.test(init) || end < 0) {
      out.push(tokens[i]);
      continue;
    }
    const before = splitAtCommas(tokens, i + 2, end).filter((part) => part.length > 0);
    out.push(...before.flatMap((part) => [...part, ";"]));
    out.push("for", "(", "int", `hl_for${(count += 1)}`, "=", "0", ";");
    i = end;
  }
  return out;
}

/** { … } on its own → if (true) { … }: the parser drops a block that belongs to nothing, with all that is in it. */
function bareBlocks(tokens) {
  const out = [];
  let initialisers = 0;
  for (let i = 0; i < tokens.length; i += 1) {
    const before = tokens[i - 1];
    if (tokens[i] === "{" && (before === "=" || initialisers > 0)) initialisers += 1;
    else if (tokens[i] === "}" && initialisers > 0) initialisers -= 1;
    else if (tokens[i] === "{" && (before === undefined || /^[;{}]$/.test(before))) out.push("if", "(", "true", ")");
    out.push(tokens[i]);
  }
  return out;
}

/** 0.5.xxx → (0.5).xxx */
function literalSwizzles(tokens) {
  const out = [];
  for (let i = 0; i < tokens.length; i += 1) {
    const dot = tokens[i + 1] === "." ? 1 : 0;
    const isNumber = NUMBER.test(tokens[i]) && tokens[i] !== ".";
    const swizzled =
      isNumber && (dot || tokens[i].endsWith(".")) && /^[xyzwrgba]{1,4}$/.test(tokens[i + 1 + dot] ?? "");
    if (swizzled) out.push("(", tokens[i], ")", ".");
    else out.push(tokens[i]);
    if (swizzled) i += dot;
  }
  return out;
}

/** -(a < b) → -1 * (a < b): the parser turns a truth value into a number for a product only. */
function negatedTruths(tokens) {
  const out = [];
  for (let i = 0; i < tokens.length; i += 1) {
    const before = tokens[i - 1];
    const unary = tokens[i] === "-" && (before === undefined || /^[-+*/%=,;({<>]=?$|^return$/.test(before));
    const end = unary && tokens[i + 1] === "(" ? closing(tokens, i + 1) : -1;
    if (end > 0 && comparesAtTop(tokens, i + 2, end)) out.push("-", "1.0", "*");
    else out.push(tokens[i]);
  }
  return out;
}

function comparesAtTop(tokens, from, to) {
  let depth = 0;
  for (let i = from; i < to; i += 1) {
    if (tokens[i] in CLOSES) depth += 1;
    else if (tokens[i] in OPENS) depth -= 1;
    else if (depth === 0 && /^(?:[<>]=?|[=!]=|&&|\|\|)$/.test(tokens[i])) return true;
  }
  return false;
}

/** while (c) → for (int n = 0; c; n++): the parser knows no while. */
function whileLoops(tokens) {
  const out = [];
  let count = 0;
  for (let i = 0; i < tokens.length; i += 1) {
    const end = tokens[i] === "while" && tokens[i + 1] === "(" ? closing(tokens, i + 1) : -1;
    if (end < 0) {
      out.push(tokens[i]);
      continue;
    }
    const name = `hl_while${(count += 1)}`;
    out.push("for", "(", "int", name, "=", "0", ";", ...tokens.slice(i + 2, end), ";", name, "++", ")");
    i = end;
  }
  return out;
}

/** Where the operand that ends at `last` begins: a.b, f(x), a[i], (x), 1.0. */
function operandStart(tokens, last) {
  let i = last;
  for (;;) {
    if (tokens[i] in OPENS) i = opening(tokens, i);
    const before = tokens[i - 1];
    if (before === ".") i -= 2;
    else if ((tokens[i] === "(" || tokens[i] === "[") && WORD.test(before ?? "") && before !== "return") i -= 1;
    else if (tokens[i] === "[" && before in OPENS) i -= 1;
    else return i;
  }
}

function operandEnd(tokens, first) {
  let i = first;
  while (tokens[i] === "-" || tokens[i] === "+" || tokens[i] === "!") i += 1;
  if (tokens[i] in CLOSES) i = closing(tokens, i);
  while (i > 0 && i + 1 < tokens.length) {
    if (tokens[i + 1] === "(" || tokens[i + 1] === "[") i = closing(tokens, i + 1);
    else if (tokens[i + 1] === ".") i += 2;
    else break;
  }
  return i;
}

/** a % b → hl_fmod(a, b), also on floats as HLSL has it; a %= b likewise. */
function remainders(tokens) {
  let out = tokens;
  for (let i = out.indexOf("%="); i > 0; i = out.indexOf("%=")) {
    const start = operandStart(out, i - 1);
    const end = out.indexOf(";", i);
    const left = out.slice(start, i);
    out = [...out.slice(0, i), "=", "hl_fmod", "(", ...left, ",", ...out.slice(i + 1, end), ")", ...out.slice(end)];
  }
  for (let i = out.indexOf("%"); i > 0; i = out.indexOf("%")) {
    let start = operandStart(out, i - 1);
    while (out[start - 1] === "*" || out[start - 1] === "/") start = operandStart(out, start - 2);
    const end = operandEnd(out, i + 1);
    if (start < 0 || end < 0) break;
    const call = ["hl_fmod", "(", ...out.slice(start, i), ",", ...out.slice(i + 1, end + 1), ")"];
    out = [...out.slice(0, start), ...call, ...out.slice(end + 1)];
  }
  return out;
}

/** "(float2(x, y) * z)": after "(float2(…)" the parser wants ")" at once; a plus sign before the type helps. */
function constructorsFirst(tokens) {
  const out = [];
  for (let i = 0; i < tokens.length; i += 1) {
    out.push(tokens[i]);
    if (tokens[i] === "(" && TYPE.test(tokens[i + 1] ?? "") && tokens[i + 2] === "(") out.push("+");
  }
  return out;
}

const PASSES = [
  literalSwizzles,
  plainTypes,
  commaOperator,
  plainDeclarations,
  commaStatements,
  forLoops,
  whileLoops,
  bareBlocks,
  safeNames,
  remainders,
  negatedTruths,
  constructorsFirst,
];

function print(tokens) {
  let text = "";
  for (let i = 0; i < tokens.length; i += 1) {
    text += tokens[i];
    if (tokens[i] === ";" || tokens[i] === "{" || tokens[i] === "}") text += "\n";
    else if (tokens[i] !== "." && tokens[i + 1] !== ".") text += " ";
    else if (NUMBER.test(tokens[i]) && tokens[i + 1] === ".") text += " ";
  }
  return text;
}

function rewrite(text) {
  return print(PASSES.reduce((tokens, pass) => pass(tokens), text.match(TOKEN) || []));
}

const SAMPLER_DECLARATION = /\b(?:uniform\s+)?(sampler(?:2D|3D)?)\s+(sampler_\w+)\s*(?:[:=][^;]*)?;/g;

/** sampler_FW_noise_lq and the like → the name that the engine has. */
function engineSampler(name, notes) {
  const lower = name.toLowerCase();
  const bare = lower.replace(/^sampler_/, "");
  if (ENGINE_TEXTURES.has(bare)) return lower;
  const match = /^(fw|fc|pw|pc|wf|cf|wp|cp)_(noise\w*)$/.exec(bare);
  if (!match || !ENGINE_TEXTURES.has(match[2])) return lower;
  if (!/^(fw|wf)$/.test(match[1])) notes.add(`approximate-sampler:${bare}`);
  return `sampler_${match[2]}`;
}

function takeSamplers(text, found, notes) {
  const renamed = text.replace(/\bsampler_\w+/gi, (name) => engineSampler(name, notes));
  return renamed.replace(SAMPLER_DECLARATION, (_, type, name) => {
    if (!ENGINE_NAMES.has(name)) found.set(name, type === "sampler3D" ? "sampler3D" : "sampler2D");
    return "";
  });
}

/** texsize_name of a preset's own texture: declared by the preset, filled by nobody; ours is a constant. */
function takeSizes(text, found) {
  return text.replace(/\b(?:uniform\s+)?float4\s+(texsize_\w+)\s*;/g, (_, name) => {
    if (!ENGINE_NAMES.has(name)) found.add(name);
    return "";
  });
}

/**
 * Names of the engine's uniforms that the preset writes to or declares anew; MilkDrop's compiler allowed it. They
 * become variables hl_name that start with the uniform's value. Returns [name].
 */
function writtenUniforms(text) {
  const written = new Set();
  const assigned = /(?<![.\w])(\w+)\s*(?:\.\s*[xyzwrgba]+\s*)?(?:[-+*/]?=(?!=)|\+\+|--)/g;
  const declared = /\b(?:float|int)[234]?\s+(\w+)\s*(?=[;=])/g;
  for (const pattern of [assigned, declared]) {
    for (const [, name] of text.matchAll(pattern)) if (ENGINE_NAMES.has(name)) written.add(name);
  }
  return [...written].filter((name) => !name.startsWith("sampler_"));
}

function renameAll(text, names) {
  return names.length === 0 ? text : text.replace(new RegExp(`\\b(${names.join("|")})\\b`, "g"), "hl_$1");
}

/**
 * {globals, body} → the same rewritten, the preset's own samplers [{type, name}], texture sizes [name] and the
 * engine's uniforms that it writes to, `written` [name].
 */
export function rewriteSource({ globals, body }, warnings) {
  const found = new Map();
  const sizes = new Set();
  const notes = new Set();
  const take = (text) => rewrite(takeSizes(takeSamplers(text, found, notes), sizes));
  const taken = { globals: take(globals), body: take(body) };
  const written = writtenUniforms(`${taken.globals}\n${taken.body}`);
  warnings.push(...notes);
  return {
    globals: renameAll(taken.globals, written),
    body: renameAll(taken.body, written),
    samplers: [...found].map(([name, type]) => ({ name, type })),
    sizes: [...sizes],
    written,
  };
}
