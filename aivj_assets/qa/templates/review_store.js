// What a person said, kept in this browser, exported to and loaded from verdicts.json.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("review-data").textContent);
const facts = new Map(data.clusters.map((cluster) => [cluster.id, cluster]));
const MARKS = ["good", "mixed", "bad"];
const MOST_LABEL = 80;
const MOST_NOTE = 1000;
const PLACE = ["aivj-review", data.lineage ?? "", data.lineageVersion ?? "", data.batch, data.state].join(":");
const PREFERENCES = "aivj-review-preferences";

const nothing = () => ({ clusters: {}, keep: {}, blacklist: {} });
let marks = nothing();
let kept = true;
let exported = true;

function read(place) {
  try {
    return JSON.parse(localStorage.getItem(place));
  } catch {
    return null;
  }
}

function write(place, value) {
  try {
    localStorage.setItem(place, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function restore() {
  const found = read(PLACE);
  marks = nothing();
  if (!found || typeof found !== "object") return;
  for (const part of Object.keys(marks)) if (found[part] && typeof found[part] === "object") marks[part] = found[part];
}

function keep() {
  exported = false;
  kept = write(PLACE, marks);
  $("unkept").hidden = kept;
}

const later = (one, other) => Date.parse(one) >= Date.parse(other);

// A verdict that was given before counts unless this browser knows a later one; of a changed cluster it is asked again.
function said(id) {
  const own = marks.clusters[id];
  const known = data.known[id];
  if (own && !(known && !later(own.at, known.at))) return { ...own, again: null, before: false };
  if (!known) return { verdict: null, label: null, note: null, at: null, again: null, before: false };
  const changed = known.carried === "changed";
  const { verdict = null, label = null, note = null, at } = known;
  return { verdict: changed ? null : verdict, label, note, at, again: changed ? verdict : null, before: true };
}

function change(id, part) {
  const { verdict, label, note } = said(id);
  marks.clusters[id] = { verdict, label, note, ...part, at: new Date().toISOString() };
  keep();
}

// As the platform stores it: composed, on one line, without characters that draw nothing (those that join letters stay).
function tidy(text, most) {
  const plain = text.normalize("NFC").replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, " ");
  const drawn = plain.replace(/[\p{Cf}\p{Cs}]/gu, (one) => ("\u200c\u200d".includes(one) ? one : ""));
  return [...drawn.replace(/\s+/gu, " ").trim()].slice(0, most).join("").trim() || null;
}

function verdictsFile() {
  const clusters = {};
  for (const { id } of data.clusters) {
    const { verdict, label, note, at } = said(id);
    if (verdict || label || note) clusters[id] = { verdict, label, note, at };
  }
  return {
    version: "v0",
    generatedAt: new Date().toISOString(),
    lineage: data.lineage,
    lineageVersion: data.lineageVersion,
    batch: data.batch,
    reviewer: tidy($("reviewer").value, MOST_LABEL),
    clusters,
    keep: Object.values(marks.keep),
    blacklist: Object.entries(marks.blacklist).map(([presetId, reason]) => ({ presetId, reason })),
  };
}

const text = (value) => (typeof value === "string" ? value : "");

function oneVerdict(entry) {
  if (!entry || typeof entry !== "object" || Number.isNaN(Date.parse(entry.at))) return null;
  return {
    verdict: MARKS.includes(entry.verdict) ? entry.verdict : null,
    label: tidy(text(entry.label), MOST_LABEL),
    note: tidy(text(entry.note), MOST_NOTE),
    at: entry.at,
  };
}

// Takes in what a file says; of each cluster the later statement counts. Returns what to tell.
function absorb(content) {
  let file = null;
  try {
    file = JSON.parse(content);
  } catch {
    return "That file is no JSON: nothing was loaded.";
  }
  if (file?.version !== "v0" || !file.clusters || typeof file.clusters !== "object")
    return "That file is no verdicts.json of the review page: nothing was loaded.";
  if (file.lineage !== data.lineage)
    return `That file is of lineage ${file.lineage ?? "none"}, this page of ${data.lineage ?? "none"}: nothing was loaded.`;
  let taken = 0;
  for (const [id, entry] of Object.entries(file.clusters)) {
    const given = facts.has(id) ? oneVerdict(entry) : null;
    if (!given) continue;
    taken += 1;
    const now = said(id);
    if (!now.at || later(given.at, now.at)) marks.clusters[id] = given;
  }
  const same = file.batch === data.batch;
  if (same) absorbPresets(file);
  keep();
  exported = true;
  const left = Object.keys(file.clusters).length - taken;
  const other = same && file.lineageVersion === data.lineageVersion;
  return `${taken} clusters loaded${left ? `, ${left} are not on this page` : ""}.${
    other ? "" : ` They were judged on version ${file.lineageVersion}, batch ${file.batch}.`}`;
}

function absorbPresets(file) {
  for (const group of Array.isArray(file.keep) ? file.keep : []) {
    const presets = Array.isArray(group?.presets) ? group.presets.filter((id) => typeof id === "string") : [];
    if (presets.length > 1 && presets.includes(group.keep)) marks.keep[keyOf(presets)] = { presets, keep: group.keep };
  }
  for (const one of Array.isArray(file.blacklist) ? file.blacklist : [])
    if (typeof one?.presetId === "string") marks.blacklist[one.presetId] = text(one.reason);
}

const keyOf = (presets) => JSON.stringify([...presets].sort());
