// A MilkDrop pixel shader (HLSL) → the shader text that butterchurn pastes into its GLSL program.
//
// Belongs here: the steps in order and the refusal of anything that did not convert. Does not belong here: the
// steps themselves (hlsl_macros.js, hlsl_rewrite.js, glsl.js). A shader is never replaced by a default: what does
// not convert is `shader-compile-failed`.

import { PresetFailure } from "/page/failure.js";
import { assembleShader, countAssignments } from "/page/glsl.js";
import { preprocess } from "/page/hlsl_macros.js";
import { DECLARATIONS, MACROS, libraryFor, typeOfUniform } from "/page/hlsl_prelude.js";
import { rewriteSource } from "/page/hlsl_rewrite.js";
import { tooNested } from "/page/nesting.js";

const FAILED = new Set(["", "parsing failed", "code generation failed"]);

let parser = null;
const messages = [];

/**
 * Starts the HLSL parser unless it runs already; must be awaited before a conversion. The parser never frees what it
 * takes and its answers come to depend on what it left lying about, so its memory is kept as it was at the start and
 * put back before every parse.
 */
export async function startParser() {
  if (parser) return;
  const module = await new Promise((resolve, reject) => {
    const note = (text) => messages.push(String(text));
    const started = globalThis.HLSLParser({ print: note, printErr: note, onAbort: reject });
    started.then((ready) => {
      delete ready.then; // its `then` hands itself over again: awaiting it would never end
      resolve(ready);
    });
  });
  const call = module.cwrap("parseHLSL", "string", ["string", "string", "string"]);
  parser = { module, call, memory: module.HEAPU8.slice(), stack: module.stackSave() };
}

/** The parser's GLSL for a whole program; "" with a message when it broke down. */
function parse(program) {
  messages.length = 0;
  parser.module.HEAPU8.set(parser.memory);
  parser.module.stackRestore(parser.stack);
  try {
    return parser.call(program, "shader_body", "fs");
  } catch (error) {
    parser = null; // the next startParser makes a new one
    messages.push(`the HLSL parser broke down: ${String(error && error.message)}`);
    return "";
  }
}

function refuse(stage, text) {
  throw new PresetFailure("shader-compile-failed", `${stage} shader: ${text}`.slice(0, 600));
}

/** Splits "globals shader_body { body } rest" at the brace that belongs to shader_body. */
function splitBody(source) {
  const start = source.search(/\bshader_body\b/);
  const open = start < 0 ? -1 : source.indexOf("{", start);
  if (open < 0) return null;
  let depth = 0;
  let close = open;
  for (; close < source.length; close += 1) {
    if (source[close] === "{") depth += 1;
    else if (source[close] === "}" && --depth === 0) break;
  }
  // An unbalanced body ends at its last brace, as in MilkDrop's own search.
  if (depth !== 0) close = source.lastIndexOf("}");
  if (close <= open) return null;
  const rest = source
    .slice(close + 1)
    .replace(/[\s;]+/g, " ")
    .trim();
  if (rest !== "") throw new Error(`text after shader_body's closing brace: ${rest.slice(0, 80)}`);
  return { globals: source.slice(0, start), body: source.slice(open + 1, close) };
}

/**
 * Converts one shader. `source`: its HLSL text, "" where the preset has none (then "" is returned and butterchurn
 * draws MilkDrop's fixed function). `stage`: "warp" or "comp". Throws PresetFailure "shader-compile-failed".
 */
export function convertShader(source, stage, warnings) {
  if (source === "") return "";
  let rewritten = null;
  try {
    const expanded = preprocess(source, MACROS);
    const refused = tooNested(expanded);
    if (refused) throw new Error(refused);
    const parts = splitBody(expanded);
    if (parts) rewritten = rewriteSource(parts, warnings);
  } catch (error) {
    refuse(stage, error.message);
  }
  if (!rewritten) refuse(stage, "no shader_body { … } in it");
  const { globals, body, samplers, sizes, written } = rewritten;
  const program = [
    DECLARATIONS,
    ...samplers.map(({ type, name }) => `${type} ${name};`),
    ...sizes.map((name) => `float4 ${name};`),
    ...written.map((name) => `${typeOfUniform(name)} hl_${name};`),
    libraryFor(globals + body),
    globals,
    "float4 shader_body (float2 uv : TEXCOORD0) : COLOR0",
    "{",
    "float3 ret = 0;",
    body,
    "return float4(ret, 1.0);",
    "}",
  ].join("\n");
  const output = parse(program);
  if (FAILED.has(output.trim())) refuse(stage, explain(program, output));
  const mainFunction = output.slice(output.indexOf("vec4 shader_body(vec2 uv) {"), output.indexOf("void main()"));
  // The one more is the first line of ours, `ret = 0`.
  if (countAssignments(mainFunction) !== countAssignments(body) + 1) refuse(stage, "the converter lost a statement");
  const shader = assembleShader(output, sizes, written);
  if (!shader || !shader.includes("shader_body")) refuse(stage, "the converted text has no shader_body");
  return shader;
}

/** The parser's message with the line that it means. */
function explain(program, output) {
  const message = messages.join(" ").trim() || output.trim() || "the converter gave nothing";
  const line = /\((\d+)\)/.exec(message);
  const text = line ? program.split("\n")[Number(line[1]) - 1] : "";
  return `${message.replace("filename.hlsl", "line ")}${text ? ` | ${text.trim().slice(0, 200)}` : ""}`;
}
