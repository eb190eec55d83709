// What the page knows: places and classes of all presets at once, names as they arrive.
const facts = JSON.parse(document.getElementById("facts").textContent);
const byId = (id) => document.getElementById(id);
const count = (number) => number.toLocaleString("en-US");

function problem(text) {
  const line = byId("problem");
  line.textContent = line.hidden ? text : `${line.textContent} ${text}`;
  line.hidden = false;
}

async function inflate(packed) {
  const text = atob(packed);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function readPoints() {
  const buffer = await inflate(byId("points").textContent);
  byId("points").textContent = "";
  const n = facts.presets;
  let at = 0;
  const take = (Kind, length) => {
    const part = new Kind(buffer, at, length);
    at += part.byteLength;
    return part;
  };
  const xy = take(Uint16Array, 2 * n), cluster = take(Uint16Array, n), batch = take(Uint16Array, n);
  const motion = take(Uint16Array, n), energy = take(Uint8Array, n);
  return { n, xy, motion, classes: [cluster, energy, batch] };
}

// Letters that Unicode does not take apart into a base letter and a mark.
const WHOLE = { "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ß": "ss", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h" };
const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/[øłđðþßæœıħ]/g, (c) => WHOLE[c]);

const names = { ids: [], titles: [], authors: [], folded: [], parts: 0, broken: 0, changed: () => {} };
const arrived = new Map();

globalThis.aivjMapNames = (digest, part, packed) => arrived.set(part, { digest, packed });

function loadScript(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = path;
    script.onload = resolve;
    script.onerror = () => reject(new Error(path));
    document.head.append(script);
  });
}

async function readNames() {
  for (let part = 0; part < facts.nameFiles.length; part++) {
    try {
      await loadScript(facts.nameFiles[part]);
      const { digest, packed } = arrived.get(part) ?? {};
      if (digest !== facts.digest) throw new Error("of another map");
      arrived.delete(part);
      const found = JSON.parse(new TextDecoder().decode(await inflate(packed)));
      found.ids.forEach((id, i) => {
        const at = part * facts.namesPerFile + i;
        names.ids[at] = id;
        names.titles[at] = found.titles[i];
        names.authors[at] = found.authors[i];
        names.folded[at] = fold(`${found.authors[i]} ${found.titles[i]} ${id}`);
      });
    } catch {
      names.broken++;
    }
    names.parts++;
    names.changed();
  }
  if (names.broken) problem(`${names.broken} of ${facts.nameFiles.length} files of names in map/ are missing or of another map: copy map.html and map/ together, then reload.`);
}

function searchNames(query) {
  const words = fold(query).split(/\s+/).filter(Boolean);
  const found = [];
  if (!words.length) return found;
  names.folded.forEach((text, i) => {
    if (words.every((word) => text.includes(word))) found.push(i);
  });
  return found;
}
