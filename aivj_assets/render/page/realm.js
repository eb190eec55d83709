// Presets are untrusted code that runs in this page's realm: what they may have changed is put back after each.
//
// Belongs here: a snapshot of the global object and of the language's built-ins, restoring it, and stopping timers
// that a preset left behind. Does not belong here: what is frozen or gone for the page's life (reduce_realm.js),
// network and files (the content security policy and the session that serves the page), endless loops (the session's
// watchdog).

const { getOwnPropertyDescriptor, getPrototypeOf, setPrototypeOf, defineProperty, is } = Object;
const { ownKeys, deleteProperty } = Reflect;
const nativeSetTimeout = globalThis.setTimeout.bind(globalThis);
const nativeClearTimeout = globalThis.clearTimeout.bind(globalThis);
const nativeCancelFrame = globalThis.cancelAnimationFrame.bind(globalThis);
const nativeRequestFrame = globalThis.requestAnimationFrame.bind(globalThis);

const WATCHED = [
  "Object",
  "Function",
  "Array",
  "String",
  "Number",
  "Boolean",
  "Symbol",
  "Promise",
  "Map",
  "Set",
  "WeakMap",
  "RegExp",
  "Date",
  "Error",
  "TypeError",
  "ArrayBuffer",
  "Int8Array",
  "Uint8Array",
  "Uint8ClampedArray",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "Float32Array",
  "Float64Array",
  "OffscreenCanvas",
  "OffscreenCanvasRenderingContext2D",
  "WebGL2RenderingContext",
  "ImageData",
  "Blob",
  "Image",
  "MessageChannel",
  "MessagePort",
  "Performance",
  "EventTarget",
];

/** The objects that are compared after each preset and hence must stay changeable. */
export function watchedObjects() {
  const found = [globalThis, Math, JSON, Reflect, WebAssembly, performance, console];
  found.push(document, navigator, location, screen, crypto);
  for (const name of WATCHED) {
    const constructor = globalThis[name];
    if (typeof constructor !== "function") continue;
    found.push(constructor);
    if (constructor.prototype) found.push(constructor.prototype);
  }
  found.push(Object.getPrototypeOf(Uint8Array), Object.getPrototypeOf(Uint8Array).prototype);
  found.push(Object.getPrototypeOf([][Symbol.iterator]()));
  return found;
}

function same(before, now) {
  if (!now) return false;
  for (const field of ["value", "get", "set"]) if (!is(before[field], now[field])) return false;
  return before.writable === now.writable && before.enumerable === now.enumerable;
}

/** Remembers the realm as it is now, to put it back after each preset. */
export function snapshotRealm() {
  const remembered = watchedObjects().map((object) => {
    const properties = new Map();
    for (const key of ownKeys(object)) properties.set(key, getOwnPropertyDescriptor(object, key));
    return { object, properties, prototype: getPrototypeOf(object) };
  });
  const globals = new Set();
  let lastTimer = nativeSetTimeout(() => {}, 0);
  let lastFrame = nativeRequestFrame(() => {});

  function stopTimers() {
    const timer = nativeSetTimeout(() => {}, 0);
    for (let id = lastTimer; id <= timer; id += 1) nativeClearTimeout(id);
    lastTimer = timer;
    const frame = nativeRequestFrame(() => {});
    for (let id = lastFrame; id <= frame; id += 1) nativeCancelFrame(id);
    lastFrame = frame;
  }

  return {
    /** Call before a preset: what others (a session's bindings) added to the global object since stays there. */
    begin() {
      globals.clear();
      for (const key of ownKeys(globalThis)) globals.add(key);
    },
    /**
     * Call after a preset. Returns names: `mended`, what belongs to the browser or the language and had been changed,
     * and `stuck`, what could not be put back. A global of the preset's own is removed and counts as neither.
     */
    restore() {
      stopTimers();
      const stuck = [];
      const mended = [];
      for (const { object, properties, prototype } of remembered) {
        if (getPrototypeOf(object) !== prototype) {
          mended.push("a prototype");
          try {
            setPrototypeOf(object, prototype);
          } catch {
            stuck.push("a prototype");
          }
        }
        for (const key of ownKeys(object)) {
          if (properties.has(key) || (object === globalThis && globals.has(key))) continue;
          if (object !== globalThis) mended.push(String(key));
          if (!deleteProperty(object, key)) stuck.push(String(key));
        }
        for (const [key, before] of properties) {
          const now = getOwnPropertyDescriptor(object, key);
          if (same(before, now)) continue;
          mended.push(String(key));
          try {
            defineProperty(object, key, before);
          } catch {
            stuck.push(String(key));
          }
        }
      }
      return { mended, stuck };
    },
  };
}
