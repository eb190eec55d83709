// .milk text → the map that butterchurn loads, with EEL equations kept as text for its compiler to wasm.
//
// Belongs here: putting the file's lines into the order and spelling that the splitter expects, and naming what
// came out. Does not belong here: shader conversion (hlsl.js).

import { PresetFailure } from "/page/failure.js";
import { convertShader } from "/page/hlsl.js";

const { splitPreset } = globalThis.milkdropPresetUtils;
const SLOT_CODE = "wave_\\d_init|wave_\\d_per_frame|wave_\\d_per_point|shape_\\d_init|shape_\\d_per_frame";
const CODE = new RegExp(`^(per_frame_init_|per_frame_|per_pixel_|${SLOT_CODE}|warp_|comp_)(\\d+)$`);
const SLOT_VALUE = /^(wavecode|shapecode)_\d_/;

/**
 * The file as one list of values, then slot values, then code in the order of its line numbers: the splitter takes
 * everything before the first code line for values and loses what stands elsewhere, and it reads keys as they are
 * written while MilkDrop does not care for case.
 */
function arrange(text) {
  const values = [];
  const slotValues = [];
  const code = new Map();
  for (const line of text.split(/\r\n|\r|\n/)) {
    const at = line.indexOf("=");
    if (at < 1) continue;
    const key = line.slice(0, at).trim();
    const lower = key.toLowerCase();
    const value = line.slice(at + 1);
    const match = CODE.exec(lower);
    if (match) {
      if (!code.has(match[1])) code.set(match[1], new Map());
      const lines = code.get(match[1]);
      if (!lines.has(Number(match[2]))) lines.set(Number(match[2]), value);
    } else if (Number.isFinite(parseFloat(value))) {
      (SLOT_VALUE.test(lower) ? slotValues : values).push([lower, parseFloat(value)]);
    }
  }
  return { values, slotValues, code };
}

/** MilkDrop reads code from line 1 on and stops at the first number that is missing; what follows it never ran. */
function dropAfterGaps(code, warnings) {
  for (const [prefix, lines] of code) {
    const kept = new Map();
    for (let number = 1; lines.has(number); number += 1) kept.set(number, lines.get(number));
    if (kept.size < lines.size) warnings.push(`line-gap:${prefix.replace(/_$/, "")}`);
    code.set(prefix, kept);
  }
}

function codeLines(code, prefix) {
  return [...(code.get(prefix) || [])].map(([number, value]) => `${prefix}${number}=${value}`);
}

function normalise({ values, slotValues, code }) {
  const version = values.find(([key]) => key === "milkdrop_preset_version");
  const head = version && version[1] >= 200 ? ["MILKDROP_PRESET_VERSION=201"] : [];
  const body = values.map(([key, value]) => `${key}=${value}`);
  const slots = slotValues.map(([key, value]) => `${key}=${value}`);
  const prefixes = ["per_frame_init_", "per_frame_", "per_pixel_"];
  for (let i = 0; i < 4; i += 1) {
    prefixes.push(`wave_${i}_init`, `wave_${i}_per_frame`, `wave_${i}_per_point`);
    prefixes.push(`shape_${i}_init`, `shape_${i}_per_frame`);
  }
  const lines = prefixes.flatMap((prefix) => codeLines(code, prefix));
  // "wavecode" opens the part in which the splitter looks for code, whatever the preset has of it.
  return [...head, "[preset00]", ...body, "wavecode_0_=0", ...slots, ...lines].join("\n");
}

/** The shader's lines without the back quote that MilkDrop puts before each; "" where the file has none. */
function shaderSource(code, prefix) {
  return [...(code.get(prefix) || [])]
    .map(([, value]) => value.replace(/^`/, ""))
    .join("\n")
    .trim();
}

function slotMap(slot, withPoints) {
  const map = { baseVals: { ...slot.baseVals }, init_eqs_eel: slot.init_eqs_str, frame_eqs_eel: slot.frame_eqs_str };
  if (withPoints) map.point_eqs_eel = slot.point_eqs_str;
  return map;
}

/** Converts a .milk preset's text: {preset: a butterchurn preset object, warnings}. Throws PresetFailure. */
export function convertMilk(text) {
  const arranged = arrange(text);
  if (arranged.values.length === 0 && arranged.code.size === 0) {
    throw new PresetFailure("preset-load-failed", "no usable preset: no MilkDrop value or code line");
  }
  const warnings = [];
  dropAfterGaps(arranged.code, warnings);
  const parts = splitPreset(normalise(arranged));
  const warp = convertShader(shaderSource(arranged.code, "warp_"), "warp", warnings);
  const comp = convertShader(shaderSource(arranged.code, "comp_"), "comp", warnings);
  const preset = {
    version: parts.presetVersion,
    baseVals: { ...parts.baseVals },
    init_eqs_eel: parts.presetInit,
    frame_eqs_eel: parts.perFrame,
    pixel_eqs_eel: parts.perVertex,
    waves: parts.waves.map((wave) => slotMap(wave, true)),
    shapes: parts.shapes.map((shape) => slotMap(shape, false)),
    warp,
    comp,
  };
  return { preset, warnings };
}
