// The page's door: the functions that a session calls.
//
// Belongs here: installing them, one call after the other, the result's shape, cleaning up after a preset. Does not
// belong here: rendering (render.js).

import { soundBytes } from "/page/audio.js";
import { installSafeCompiler } from "/page/eel_wasm.js";
import { PresetFailure, describeError } from "/page/failure.js";
import { startParser } from "/page/hlsl.js";
import { readParameters } from "/page/parameters.js";
import { installRandom } from "/page/random.js";
import { snapshotRealm } from "/page/realm.js";
import { reduceRealm } from "/page/reduce_realm.js";
import { renderPreset } from "/page/render.js";
import { prepareVisualizers } from "/page/visualizer.js";
import { WARP_MESH } from "/page/warp_mesh.js";

/** Goes up whenever the same preset, parameters and renderer may give other pixels. */
const PAGE_VERSION = "4";
const VERSIONS = {
  engine: "butterchurn",
  engineVersion: "3.0.0-beta.5",
  drawing: { warpMesh: WARP_MESH, anisotropicFilter: "off" },
  converterVersions: { "milkdrop-preset-utils": "0.2.1", "hlslparser-js": "0.0.1", "butterchurn-images": "2.6.7" },
};

const NativeOffscreenCanvas = globalThis.OffscreenCanvas;
let realm = null;
let last = Promise.resolve();

function reporter(url) {
  const report = globalThis.__nw_reportProgress;
  return (stage) => {
    if (typeof report !== "function") return;
    try {
      const answer = report({ stage, url });
      if (answer && typeof answer.catch === "function") answer.catch(() => {});
    } catch {
      // Progress is told, never waited for.
    }
  };
}

function failed(code, text, timings) {
  return {
    ok: false,
    reasons: [code],
    errorText: text,
    metrics: {},
    frames: [],
    reference: null,
    warnings: [],
    timings_ms: timings,
  };
}

function named(names) {
  return [...new Set(names)].slice(0, 5).join(",");
}

async function dump(payload) {
  const timings = { convert: 0, load: 0, js: 0, gl: 0, readback: 0, encode: 0 };
  let params;
  try {
    params = readParameters(payload);
  } catch (error) {
    return failed("probe-error", describeError(error), timings);
  }
  let result;
  const report = reporter(params.url);
  realm.begin();
  try {
    const made = await renderPreset(params, timings, report);
    result = { ok: true, reasons: [], errorText: "", ...made, timings_ms: timings };
  } catch (error) {
    const code = error instanceof PresetFailure ? error.code : "probe-error";
    result = failed(code, error instanceof PresetFailure ? error.message : describeError(error), timings);
  }
  const { mended, stuck } = realm.restore();
  // What the page then reported cannot be trusted, whatever it was.
  if (mended.length > 0) result = failed("probe-error", `the preset tampered with ${named(mended)}`, timings);
  // The session must load the page anew: this preset changed something, perhaps more than was found.
  if (stuck.length + mended.length > 0) result.warnings.push(`realm-tainted:${named([...stuck, ...mended])}`);
  report("done");
  return result;
}

function dumpPresetFrames(payload) {
  const turn = last.then(() => dump(payload));
  last = turn.catch(() => {});
  return turn;
}

function describe() {
  const canvas = new NativeOffscreenCanvas(1, 1);
  const gl = canvas.getContext("webgl2");
  const info = gl?.getExtension("WEBGL_debug_renderer_info");
  const found = {
    ...VERSIONS,
    pageVersion: PAGE_VERSION,
    rendererUnmasked: info ? gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : null,
    vendorUnmasked: info ? gl.getParameter(info.UNMASKED_VENDOR_WEBGL) : null,
    webgl2: Boolean(gl),
    userAgent: navigator.userAgent,
  };
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return found;
}

function offer(name, value) {
  Object.defineProperty(globalThis, name, { value, writable: false, configurable: false, enumerable: false });
}

installRandom();
installSafeCompiler();
await startParser();
// Without WebGL 2 the page still opens: describe() says so and every preset fails with a reason.
await prepareVisualizers().catch(() => {});
reduceRealm();
realm = snapshotRealm();
offer("__aivj_describe", describe);
offer("__aivj_sound", soundBytes);
offer("__nw_dumpPresetFrames", dumpPresetFrames);
