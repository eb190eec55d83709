// What presets can reach of the page, made less: one more wall behind the allow-list for equations (script.js).
//
// Belongs here: taking away what the page needs no more once it stands, and freezing what nobody has to change. Does
// not belong here: what is put back after each preset (realm.js). What the page itself uses later (MessageChannel,
// images, canvases) its modules took hold of before.

import { watchedObjects } from "/page/realm.js";

const { freeze, getOwnPropertyDescriptor, getPrototypeOf } = Object;
const { ownKeys, deleteProperty } = Reflect;

/** Ways to keep something between presets, to stay alive beyond one, or out of the page. */
const NEEDLESS = [
  "localStorage sessionStorage indexedDB caches cookieStore sharedStorage name history navigation",
  "BroadcastChannel MessageChannel Worker SharedWorker postMessage",
  "fetch fetchLater XMLHttpRequest WebSocket WebSocketStream WebTransport EventSource RTCPeerConnection",
  "setInterval requestIdleCallback queueMicrotask scheduler",
  "MutationObserver IntersectionObserver ResizeObserver PerformanceObserver ReportingObserver",
  "open alert confirm prompt print",
].flatMap((names) => names.split(" "));
const NEEDLESS_MEMBERS = {
  Document: "cookie domain open write writeln",
  Navigator: "sendBeacon serviceWorker locks storage storageBuckets clipboard",
};

/** Prototypes without a name: of iterators, generators and asynchronous functions. */
function namelessPrototypes() {
  const makers = [function* () {}, async () => {}, async function* () {}];
  const iterators = [[], "", new Map(), new Set(), new Float32Array(0)].map((list) => list[Symbol.iterator]());
  iterators.push("".matchAll(/x/g), makers[0](), makers[2](), ...makers);
  if (globalThis.Intl?.Segmenter) iterators.push(new Intl.Segmenter().segment("")[Symbol.iterator]());
  const found = [];
  for (const start of iterators) {
    for (let object = getPrototypeOf(start); object; object = getPrototypeOf(object)) found.push(object);
  }
  return found;
}

function isFreezable(value) {
  return typeof value === "function" || (value !== null && typeof value === "object");
}

/** Freezes what hangs below `object` and is a function, a function's prototype or a namespace such as Intl. */
function freezeBelow(object, left, seen) {
  for (const key of ownKeys(object)) {
    const { value, get, set } = getOwnPropertyDescriptor(object, key);
    const isNamespace = isFreezable(value) && getPrototypeOf(value) === Object.prototype;
    const isPrototype = key === "prototype" || isNamespace;
    for (const part of [value, get, set]) {
      if (typeof part !== "function" && !(isPrototype && part === value && isFreezable(value))) continue;
      if (seen.has(part)) continue;
      seen.add(part);
      freezeBelow(part, left, seen);
      if (!left.has(part)) freeze(part);
    }
  }
}

/**
 * To be called once, when the page stands and before snapshotRealm. What is watched by realm.js stays changeable, as
 * frozen it could not be told that a preset tried.
 */
export function reduceRealm() {
  for (const name of NEEDLESS) deleteProperty(globalThis, name);
  for (const [name, members] of Object.entries(NEEDLESS_MEMBERS)) {
    const prototype = globalThis[name]?.prototype;
    if (prototype) for (const member of members.split(" ")) deleteProperty(prototype, member);
  }
  const left = new Set(watchedObjects());
  const seen = new Set();
  for (const object of [...left, ...namelessPrototypes()]) {
    freezeBelow(object, left, seen);
    if (!left.has(object)) freeze(object);
  }
}
