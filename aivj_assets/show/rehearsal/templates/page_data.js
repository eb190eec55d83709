// What the page knows: the rows of the track as bytes, picks with their reasons, names.
const byId = (id) => document.getElementById(id);
const ROW = {};
let facts = null;

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = false;
}

async function inflate(packed) {
  const text = atob(packed);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function readAll() {
  const [words, buffer] = await Promise.all([inflate(byId("facts").textContent), inflate(byId("rows").textContent)]);
  byId("facts").textContent = byId("rows").textContent = "";
  facts = JSON.parse(new TextDecoder().decode(words));
  const n = facts.rows;
  ["least", "most", "loudness", "onset", "low", "mid", "high", "marks"].forEach((name, i) => {
    ROW[name] = new (i < 2 ? Int8Array : Uint8Array)(buffer, i * n, n);
  });
  facts.picks.forEach((pick, i) => {
    pick.number = i;
    pick.until = facts.picks[i + 1]?.t ?? facts.endS;
  });
  facts.spriteOf = new Map(facts.sprites.map((preset, sprite) => [preset, sprite]));
}

const rowAt = (time) => Math.max(0, Math.min(facts.rows - 1, Math.round((time - facts.firstS) / facts.rowS)));
const timeOf = (row) => facts.firstS + row * facts.rowS;
const tierOf = (row) => ROW.marks[row] & 3;
const BEAT = 4, BAR = 8, PHRASE = 16, SECTION = 32;

// The last item of a list in the order of time that began at or before a time; -1 before the first.
function lastAt(list, time, at) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(list[middle]) <= time) low = middle + 1; else high = middle;
  }
  return low - 1;
}
const pickAt = (time) => lastAt(facts.picks, time + 1e-6, (pick) => pick.t);

function clock(time, parts = 0) {
  const scale = 10 ** parts, rounded = Math.max(0, Math.round(time * scale) / scale);
  const hours = Math.floor(rounded / 3600), minutes = Math.floor((rounded % 3600) / 60);
  const seconds = (rounded % 60).toFixed(parts).padStart(parts ? 3 + parts : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${seconds}` : `${minutes}:${seconds}`;
}

// Sheets of pictures are loaded when one of their pictures is first to be seen.
const sheets = new Map();
function sprite(preset, arrived) {
  const number = facts.spriteOf.get(preset);
  if (number === undefined) return null;
  const { folder, columns, each, width, height } = facts.sheet, sheet = Math.floor(number / each), place = number % each;
  if (!sheets.has(sheet)) {
    const image = new Image();
    image.src = `${folder}/sheet-${String(sheet).padStart(3, "0")}.webp`;
    image.onload = () => arrived();
    image.onerror = () => problem(`Pictures are missing in ${folder}/: copy the whole folder, then reload.`);
    sheets.set(sheet, image);
  }
  return { image: sheets.get(sheet), x: (place % columns) * width, y: Math.floor(place / columns) * height, width, height };
}
