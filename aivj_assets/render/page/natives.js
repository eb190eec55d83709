// The browser's own functions as they were when the page opened.
//
// Belongs here: what the page calls after a preset's equations may have run and whose answer it trusts. Does not
// belong here: putting changed built-ins back (realm.js). A preset that replaced such a function must not decide
// whether its own programs linked or what its pictures are.

const { apply } = Reflect;
const { getOwnPropertyDescriptor, getPrototypeOf } = Object;

function method(prototype, name) {
  const native = prototype[name];
  return (object, ...args) => apply(native, object, args);
}

function getter(prototype, name) {
  const native = getOwnPropertyDescriptor(prototype, name).get;
  return (object) => apply(native, object, []);
}

function methods(constructor, names) {
  const found = {};
  for (const name of names) found[name] = constructor ? method(constructor.prototype, name) : () => null;
  return found;
}

export const webgl = methods(globalThis.WebGL2RenderingContext, [
  "getProgramParameter",
  "getProgramInfoLog",
  "getAttachedShaders",
  "getShaderParameter",
  "getShaderInfoLog",
  "getShaderSource",
  "isContextLost",
  "bindFramebuffer",
  "readPixels",
]);

export const canvas2d = methods(globalThis.OffscreenCanvasRenderingContext2D, [
  "drawImage",
  "getImageData",
  "putImageData",
]);

export const includes = method(String.prototype, "includes");
export const convertToBlob = method(OffscreenCanvas.prototype, "convertToBlob");
export const blobBytes = method(Blob.prototype, "arrayBuffer");
export const blobType = getter(Blob.prototype, "type");
export const imageBytes = getter(ImageData.prototype, "data");
export const subarray = method(getPrototypeOf(Uint8Array.prototype), "subarray");
const nativeFromCharCode = String.fromCharCode;

/** One text from an array of byte values. */
export const textOfBytes = (bytes) => apply(nativeFromCharCode, undefined, bytes);
/** Binary text → base64. */
export const encodeBase64 = globalThis.btoa.bind(globalThis);
export const { Float32Array: NativeFloat32Array, Uint8Array: NativeUint8Array } = globalThis;
export const { abs } = Math;
