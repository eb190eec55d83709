// Preset text → the map that butterchurn loads.
//
// Belongs here: telling JSON from .milk, checking and completing a JSON preset, the textures that shaders ask for.
// Does not belong here: .milk (milk.js) and its shaders (hlsl.js), what equations may hold (script.js).

import { mendEquations, withoutComments } from "/page/eel.js";
import { PresetFailure, describeError } from "/page/failure.js";
import { boundLoops } from "/page/glsl_loops.js";
import { convertMilk } from "/page/milk.js";
import { tooNested } from "/page/nesting.js";
import { checkScript } from "/page/script.js";
import { EXTRA_TEXTURES, declareSize } from "/page/textures.js";

const SLOTS = 4; // custom shapes and waves; butterchurn's wasm helper expects all four
const EQUATIONS = ["init_eqs", "frame_eqs", "pixel_eqs"];
const SLOT_EQUATIONS = ["init_eqs", "frame_eqs", "point_eqs"];
const ENGINE_SAMPLERS = new Set([
  "main",
  "fw_main",
  "fc_main",
  "pw_main",
  "pc_main",
  "blur1",
  "blur2",
  "blur3",
  "noise_lq",
  "noise_lq_lite",
  "noise_mq",
  "noise_hq",
  "pw_noise_lq",
  "noisevol_lq",
  "noisevol_hq",
]);

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function refuseEquations(what, why) {
  throw new PresetFailure("preset-load-failed", `${what}: ${why}`);
}

function allowedScript(text, what) {
  const { text: checked, offence } = checkScript(text);
  if (offence) refuseEquations(what, `not allowed in a preset's equations: ${offence}`);
  const refused = tooNested(checked);
  if (refused) refuseEquations(what, refused);
  return checked;
}

function mendedEquations(text, what) {
  let mended = text;
  try {
    mended = mendEquations(text);
  } catch (error) {
    refuseEquations(what, error.message);
  }
  const refused = tooNested(withoutComments(mended));
  if (refused) refuseEquations(what, refused);
  return mended;
}

function copyEquations(from, to, names, suffix, what) {
  for (const name of names) {
    const text = from[`${name}_${suffix}`] ?? "";
    if (typeof text !== "string") throw new PresetFailure("preset-load-failed", `${what}.${name}_${suffix} is no text`);
    const check = suffix === "eel" ? mendedEquations : allowedScript;
    to[`${name}_${suffix}`] = check(text, `${what}.${name}_${suffix}`);
  }
}

function numbersOf(values, what) {
  if (values === undefined) return {};
  if (!isObject(values)) throw new PresetFailure("preset-load-failed", `${what}.baseVals is no object`);
  const kept = {};
  for (const [key, value] of Object.entries(values)) if (Number.isFinite(value)) kept[key] = value;
  return kept;
}

function slots(list, suffix, what) {
  if (list !== undefined && !Array.isArray(list)) throw new PresetFailure("preset-load-failed", `${what} is no list`);
  const filled = [];
  for (let i = 0; i < SLOTS; i += 1) {
    const slot = (list || [])[i];
    if (slot !== undefined && !isObject(slot))
      throw new PresetFailure("preset-load-failed", `${what}[${i}] is no object`);
    const made = { baseVals: numbersOf(slot?.baseVals, `${what}[${i}]`) };
    if (!slot) made.baseVals.enabled = 0;
    copyEquations(slot || {}, made, SLOT_EQUATIONS, suffix, `${what}[${i}]`);
    filled.push(made);
  }
  return filled;
}

function shaderText(value, stage) {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") throw new PresetFailure("preset-load-failed", `${stage} is no text`);
  try {
    return withTextureSizes(boundLoops(value.trim()));
  } catch (error) {
    throw new PresetFailure("shader-compile-failed", `${stage} shader: ${error.message}`);
  }
}

/** MilkDrop gives texsize_name for every texture; presets converted to JSON use it without declaring it. */
function withTextureSizes(shader) {
  const used = new Set([...shader.matchAll(/\btexsize_(\w+)/g)].map(([, name]) => name));
  const missing = [...used].filter(
    (name) => !ENGINE_SAMPLERS.has(name) && !new RegExp(`\\bvec4\\s+texsize_${name}\\b`).test(shader),
  );
  return [...missing.map((name) => declareSize(`texsize_${name}`)), shader].join("\n");
}

/** A butterchurn preset object, checked and completed; only known fields are taken over. */
function fromObject(source) {
  if (!isObject(source)) throw new PresetFailure("preset-load-failed", "the JSON is no object");
  if (!isObject(source.baseVals))
    throw new PresetFailure("preset-load-failed", "no usable preset: baseVals is missing");
  const hasEel = "init_eqs_eel" in source && !source.useJS;
  const suffix = hasEel ? "eel" : "str";
  if (!hasEel && !("init_eqs_str" in source)) {
    throw new PresetFailure("preset-load-failed", "no usable preset: neither init_eqs_str nor init_eqs_eel");
  }
  const map = { version: Number(source.version) || 2, baseVals: numbersOf(source.baseVals, "preset") };
  copyEquations(source, map, EQUATIONS, suffix, "preset");
  map.shapes = slots(source.shapes, suffix, "shapes");
  map.waves = slots(source.waves, suffix, "waves");
  map.warp = shaderText(source.warp, "warp");
  map.comp = shaderText(source.comp, "comp");
  return map;
}

function fromJson(text) {
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new PresetFailure("preset-load-failed", describeError(error));
  }
  return fromObject(parsed);
}

/** Names of the sampler2D that a shader declares beyond the engine's own. */
function declaredSamplers(text) {
  const names = [];
  for (const [, name] of text.matchAll(/uniform\s+sampler2D\s+sampler_(\w+)\s*;/g)) {
    if (!ENGINE_SAMPLERS.has(name) && !names.includes(name)) names.push(name);
  }
  return names;
}

/** Which image stands behind a sampler: fw_/fc_/pw_/pc_ only say how it is filtered and wrapped. */
function imageOf(sampler) {
  const bare = sampler.replace(/^(fw|fc|pw|pc)_/, "");
  return [sampler, bare].find((name) => name === "clouds2" || name === "empty" || name in EXTRA_TEXTURES);
}

function texturesFor(map) {
  const extraImages = new Map();
  const warnings = [];
  for (const sampler of declaredSamplers(`${map.warp}\n${map.comp}`)) {
    const image = imageOf(sampler);
    if (image === undefined) warnings.push(`missing-texture:${sampler}`);
    else if (/^(fc|pw|pc)_/.test(sampler)) warnings.push(`approximate-sampler:${sampler}`);
    if (image !== undefined && image in EXTRA_TEXTURES) {
      if (!extraImages.has(image)) extraImages.set(image, { names: [], ...EXTRA_TEXTURES[image] });
      extraImages.get(image).names.push(sampler);
    }
  }
  return { extraImages: [...extraImages.values()], warnings };
}

/**
 * Converts a preset's text. Returns {map, shaders: {warp, comp}, extraImages, warnings}; `shaders` are the texts
 * that must be in use after loading ("" where the preset has none). Throws PresetFailure.
 */
export function readPreset(text) {
  const trimmed = text.replace(/^\uFEFF/, "").trim();
  if (trimmed === "") throw new PresetFailure("empty", "the preset's text is empty");
  const milk = trimmed.startsWith("{") ? null : convertMilk(trimmed);
  const map = milk ? fromObject(milk.preset) : fromJson(trimmed);
  const { extraImages, warnings } = texturesFor(map);
  if (milk) warnings.unshift(...milk.warnings);
  return { map, shaders: { warp: map.warp, comp: map.comp }, extraImages, warnings };
}
