// One butterchurn visualizer for one preset, in a GL context of its own, and its end.
//
// Belongs here: building the visualizer on our canvas, true simulated time, the textures that butterchurn would load
// later, and giving everything back. Does not belong here: presets, frames, captures (render.js, capture.js), work
// that need not be done (gl_calls.js, passes.js, compile_later.js, shape_batch.js, warp_mesh.js, spectra.js).
//
// Every preset gets a fresh context and a fresh visualizer: butterchurn keeps state (audio averages, feedback and
// blur textures, frame times, GL bindings), and a preset's pictures must not depend on the one before it.

import butterchurn from "/node_modules/butterchurn/dist/butterchurn.js";
import { PresetFailure } from "/page/failure.js";
import { compileWhenUsed } from "/page/compile_later.js";
import { dropRepeatedCalls } from "/page/gl_calls.js";
import { compositeOnDemand } from "/page/passes.js";
import { random, reseed, seedFromText } from "/page/random.js";
import { drawInstancesTogether } from "/page/shape_batch.js";
import { rememberSpectra } from "/page/spectra.js";
import { drawMeshPerPixel } from "/page/warp_mesh.js";

const NativeOffscreenCanvas = globalThis.OffscreenCanvas;
const NativeImage = globalThis.Image;
const TRACKED = ["Program", "Shader", "Texture", "Buffer", "Framebuffer", "Sampler"];

const CONSTRUCTION_SEED = seedFromText("noise", 0);

const decodedImages = new Map();

/** An image element that is fully decoded; kept by its source, so that a texture's upload never waits. */
async function decodedImage(source) {
  if (!decodedImages.has(source)) {
    const image = new NativeImage();
    image.src = source;
    await image.decode();
    decodedImages.set(source, image);
  }
  return decodedImages.get(source);
}

/** Records every GL object made through this context and hides the anisotropic filter. */
function instrument(gl) {
  const made = {};
  for (const kind of TRACKED) {
    const create = gl[`create${kind}`].bind(gl);
    made[kind] = [];
    gl[`create${kind}`] = (...args) => {
      const object = create(...args);
      made[kind][made[kind].length] = object; // not push: a preset's code may have run by now
      return object;
    };
  }
  // Costs half of all GL time on a software renderer; one more thing on which GPUs differ.
  const getExtension = gl.getExtension.bind(gl);
  gl.getExtension = (name) => (/anisotropic/.test(name) ? null : getExtension(name));
  dropRepeatedCalls(gl);
  return made;
}

/** butterchurn makes its own OffscreenCanvas; for the length of the call it is handed ours. */
function constructOn(canvas, width, height) {
  globalThis.OffscreenCanvas = function HandOver() {
    return canvas;
  };
  try {
    const output = { getContext: () => null };
    return butterchurn.createVisualizer(null, output, { width, height, pixelRatio: 1, textureRatio: 1 });
  } finally {
    globalThis.OffscreenCanvas = NativeOffscreenCanvas;
  }
}

/** `time` after n frames is n / fps, where butterchurn would integrate a smoothed frame rate. */
function useTrueTime(renderer, fps) {
  renderer.fps = fps;
  renderer.calcTimeAndFPS = function calcTimeAndFPS(elapsedTime) {
    this.time = this.clock === undefined ? (this.frameNum + 1) / fps : this.clock;
    this.fps = elapsedTime > 0 ? 1 / elapsedTime : fps;
    this.blending = false;
  };
}

/** Uploads the built-in images now; butterchurn would do it whenever they happen to be decoded. */
async function uploadImages(renderer, gl, extraImages) {
  const store = renderer.image;
  const builtIn = [
    ["clouds2", store.clouds2Image, 128, 128],
    ["empty", store.emptyImage, 1, 1],
  ];
  for (const [name, image, width, height] of builtIn) {
    image.onload = null;
    const decoded = await decodedImage(image.src);
    store.samplers[name] = gl.createTexture();
    store.bindTexture(store.samplers[name], decoded, width, height);
  }
  for (const { names, data, width, height } of extraImages) {
    const decoded = await decodedImage(data);
    const texture = gl.createTexture();
    store.bindTexture(texture, decoded, width, height);
    for (const name of names) store.samplers[name] = texture;
  }
}

/** Changes the engine's classes for the life of the page, given one renderer. */
function changeEngine(renderer) {
  drawMeshPerPixel(renderer.warpShader.constructor);
  drawInstancesTogether(renderer.customShapes[0].constructor);
  compileWhenUsed(renderer.customWaveforms[0], "generateWaveform", ["createShader"], true);
  compileWhenUsed(renderer.customShapes[0], "setupShapeBuffers", ["createShader", "createBorderShader"]);
  compileWhenUsed(renderer.outputShader, "renderQuadTexture", ["createShader"]);
  compileWhenUsed(renderer.resampleShader, "renderQuadTexture", ["createShader"]);
  compileWhenUsed(renderer.titleText, "renderTitle", ["createShader"]);
}

/**
 * Makes the noise textures' data once for the page's life: they come from a fixed seed, hence are the same for every
 * preset, and took half of the time that a visualizer takes to build. Must be awaited before createVisualizer.
 */
export async function prepareVisualizers() {
  reseed(CONSTRUCTION_SEED);
  const stage = await createVisualizer({ width: 16, height: 16, fps: 30, extraImages: [] });
  changeEngine(stage.renderer);
  const maker = stage.renderer.noise.constructor;
  for (const name of ["createNoiseTex", "createNoiseVolTex"]) {
    const create = maker[name];
    const made = new Map();
    maker[name] = (size, zoom) => {
      const key = `${size} ${zoom}`;
      if (!made.has(key)) {
        reseed(seedFromText(`${name} ${key}`, 0));
        made.set(key, create.call(maker, size, zoom, random));
      }
      return made.get(key);
    };
  }
  dispose(stage);
  // A second one fills the store, so that every preset finds the same.
  dispose(await createVisualizer({ width: 16, height: 16, fps: 30, extraImages: [] }));
}

/**
 * A visualizer of width x height at `fps`, ready to load a preset. `extraImages`: [{names, data, width, height}].
 * Throws PresetFailure "context-lost" when the browser gives no WebGL 2 context.
 */
export async function createVisualizer({ width, height, fps, extraImages }) {
  const canvas = new NativeOffscreenCanvas(width, height);
  const gl = canvas.getContext("webgl2", {
    alpha: false,
    antialias: false,
    depth: false,
    stencil: false,
    premultipliedAlpha: false,
  });
  if (!gl) throw new PresetFailure("context-lost", "the browser gave no WebGL 2 context");
  const made = instrument(gl);
  let visualizer;
  try {
    reseed(CONSTRUCTION_SEED);
    visualizer = constructOn(canvas, width, height);
    visualizer.outputGl = null;
    useTrueTime(visualizer.renderer, fps);
    compositeOnDemand(visualizer.renderer);
    rememberSpectra(visualizer.renderer.audio);
    await uploadImages(visualizer.renderer, gl, extraImages);
  } catch (error) {
    dispose({ gl, made, canvas });
    throw error;
  }
  return { visualizer, renderer: visualizer.renderer, gl, canvas, made };
}

/** Deletes every GL object and gives the context up, so that the GPU process does not grow. */
export function dispose({ gl, made, canvas }) {
  for (const kind of TRACKED) {
    const remove = gl[`delete${kind}`].bind(gl);
    for (const object of made[kind]) remove(object);
    made[kind].length = 0;
  }
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  canvas.width = 1;
  canvas.height = 1;
}
