// Which preset comes next, and when: the selector of an AI VJ, from a published style index and policy.
//
//   import { Selector, selectionLogLine } from "./aivj-selector.mjs";
//
//   const selector = new Selector({
//     index,            // aivj-style-index.v1.json, parsed
//     selection,        // aivj-style-policy.v0.json, parsed: its `selection`; what is missing has a default
//     seed,             // integer; the same seed, observations and acts give the same show
//     indexHash,        // SHA-256 of the index file, hex, for the log
//     favourites,       // presetIds, optional: taken before all others
//     blacklist,        // presetIds, optional: never shown
//   });
//   const { end, pick } = selector.step(observation);   // for every row of the music, 20 a second
//   if (pick) load(pick.presetId);                      // both null: what is on screen stays
//   selector.act("skip", timeS);                        // the next step picks at once; returns the log's line
//   selector.fail(timeS, "why");                        // it cannot be shown: never again; returns the log's line
//   selector.finish(timeS);                             // the end of the show; returns the log's last line
//
// observation: {timeS, tier: "calm" | "groove" | "peak", beat, bar, phrase, section: true in the row in which it
// happens, tempoConfidence: 0..1, features: {name: number}, clusterProbabilities: {cluster: 0..1}, optional, from the
// audio -> style model}. Nothing in it can break a show: a tier that is none counts as the last one, a feature that
// is no finite number is left out of the line, time that goes back (a seek, a loop) counts as no time.
// Acts: "skip", "favourite", "unfavourite", "hold" (stays until released or skipped), "release", "blacklist".
// `end`, `pick` and what `act` and `finish` return are the lines of the show's log, plain objects, or null.
// `end` without `pick`: what was on screen was blacklisted and nothing else is left.
// `selector.problem` says why nothing can be shown, null when something can; `selector.onScreen` is a presetId or null.
//
// aivj_assets/show/selector is the same in Python and the reference: change both, in one order. Both make the same
// picks with the same probabilities, to the last bit: only + - * / and comparisons, in the same order.

const ENERGIES = ["calm", "groove", "peak"];
// The tier itself, then the nearest ones; groove lies between two that are equally near.
const TIER_STEPS = {
  calm: [["calm"], ["groove"], ["peak"]],
  groove: [["groove"], ["calm", "peak"]],
  peak: [["peak"], ["groove"], ["calm"]],
};
const RELAX_ORDER = ["clusterCooldown", "tier", "presetCooldown"];
const ACTS = ["skip", "favourite", "unfavourite", "hold", "release", "blacklist"];
const ENDED_BY = { section: "section", tier: "tier", skip: "skip" };
const LISTED_CANDIDATES = 8; // that a pick's line holds
const SHOWN_COUNT = 0.25; // what a preset that was shown counts in its cluster's weight, beside 1 of one that was not
const EXPLORED_FRACTION = 0.1; // of the clusters' probability is spread evenly, whatever the model says
const LONGEST_BEAT_S = 1; // a beat at 60 bpm: so long after the longest wait a beat is still waited for
const SEEK_S = 1; // time that goes back by more is a seek

const finite = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const happened = (value) => value === true || value === 1;
const isName = (value) => typeof value === "string" && value !== "" && !/\p{Surrogate}/u.test(value);
const atLeast0 = (value, otherwise) => (finite(value) !== null && value >= 0 ? value : otherwise);

/** The app's own one-line selection log of a pick; what is not known is left out. */
export function selectionLogLine(presetId, { motion = null, qualityTier = null } = {}) {
  const parts = [`selected preset ${presetId} (aivj-style)`];
  if (motion !== null) parts.push(`[m=${motion.toFixed(2)}]`);
  if (qualityTier !== null) parts.push(`[tier=${qualityTier}]`);
  return parts.join(" ");
}

/** A Weyl sequence through the finaliser of MurmurHash3. */
class Random32 {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  /** The next number in [0, 1), a multiple of 2^-32. */
  fraction() {
    this.state = (this.state + 0x9e3779b9) >>> 0;
    let value = this.state;
    value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
    value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
    return ((value ^ (value >>> 16)) >>> 0) / 4294967296;
  }
}

/** The entries that count, sorted by presetId as JavaScript sorts; a number stands for each of them. */
function readLibrary(index) {
  const known = new Map();
  for (const entry of Array.isArray(index?.entries) ? index.entries : []) {
    if (!isObject(entry)) continue;
    const { presetId, authorKey, energy } = entry;
    const named = isName(presetId) && isName(authorKey);
    if (named && ENERGIES.includes(energy) && !known.has(presetId)) known.set(presetId, { authorKey, energy });
  }
  const ids = [...known.keys()].sort();
  return {
    ids,
    clusters: ids.map((id) => known.get(id).authorKey),
    energies: ids.map((id) => known.get(id).energy),
    numbers: new Map(ids.map((id, number) => [id, number])),
  };
}

function readSelection(told) {
  const { presetCooldownSeconds, clusterCooldownSwitches, minDwellSeconds, maxWaitSeconds, ...rest } = told ?? {};
  const named = Array.isArray(rest.relaxOrder) ? rest.relaxOrder.filter((rule) => RELAX_ORDER.includes(rule)) : [];
  const times = (values, defaults) =>
    Object.fromEntries(ENERGIES.map((energy, i) => [energy, atLeast0(values?.[energy], defaults[i])]));
  return {
    cooldownS: atLeast0(presetCooldownSeconds, 1800),
    switches: Math.floor(atLeast0(clusterCooldownSwitches, 2)),
    minDwellS: times(minDwellSeconds, [24, 16, 8]),
    maxWaitS: times(maxWaitSeconds, [8, 8, 4]),
    minTempoConfidence: atLeast0(rest.minTempoConfidence, 0.3),
    order: [...new Set([...named, ...RELAX_ORDER])],
  };
}

/** An observation made fit: null where nothing usable was said. */
function hear(observation) {
  const told = isObject(observation) ? observation : {};
  const phrase = happened(told.phrase);
  const bar = happened(told.bar) || phrase;
  const features = isObject(told.features) ? Object.entries(told.features) : [];
  return {
    timeS: finite(told.timeS),
    tier: ENERGIES.includes(told.tier) ? told.tier : null,
    beat: happened(told.beat) || bar,
    bar,
    phrase,
    section: happened(told.section),
    tempoConfidence: finite(told.tempoConfidence) ?? 0,
    features: Object.fromEntries(features.filter(([, value]) => finite(value) !== null)),
    model: isObject(told.clusterProbabilities) ? told.clusterProbabilities : null,
  };
}

/**
 * A library on its shelves, one a cluster and energy: `fresh` presets were never shown, in the order of their numbers,
 * `shown` ones left the screen, longest ago first.
 */
class Stock {
  constructor(library) {
    this.library = library;
    this.shelves = { calm: [], groove: [], peak: [] };
    this.shelfOf = [];
    this.leftS = new Map();
    this.banned = new Set();
    this.onScreen = null;
    const places = { calm: new Map(), groove: new Map(), peak: new Map() };
    library.ids.forEach((_id, number) => {
      const energy = library.energies[number];
      const cluster = library.clusters[number];
      let shelf = places[energy].get(cluster);
      if (!shelf) {
        shelf = { cluster, fresh: [], shown: [] };
        places[energy].set(cluster, shelf);
        this.shelves[energy].push(shelf);
      }
      shelf.fresh.push(number);
      this.shelfOf.push(shelf);
    });
  }

  /** How many presets could be shown instead of the one on screen, if no rule but the blacklist held. */
  get waiting() {
    const away = this.onScreen !== null && !this.banned.has(this.onScreen) ? 1 : 0;
    return this.library.ids.length - this.banned.size - away;
  }

  isFresh(number) {
    return !this.leftS.has(number) && number !== this.onScreen;
  }

  isReady(number, nowS, cooldownS) {
    if (number === this.onScreen || this.banned.has(number)) return false;
    return !this.leftS.has(number) || nowS - this.leftS.get(number) >= cooldownS;
  }

  /** How many of a shelf's shown presets are not cooling; they are its first ones. */
  rested(shelf, nowS, cooldownS) {
    let low = 0;
    let high = shelf.shown.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (nowS - this.leftS.get(shelf.shown[middle]) >= cooldownS) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  take(number) {
    this.remove(number);
    this.leftS.delete(number);
    this.onScreen = number;
  }

  putBack(nowS) {
    const number = this.onScreen;
    this.onScreen = null;
    if (number === null || this.banned.has(number)) return;
    this.leftS.set(number, nowS);
    this.shelfOf[number].shown.push(number);
  }

  ban(number) {
    if (this.banned.has(number)) return;
    this.banned.add(number);
    this.remove(number);
  }

  remove(number) {
    const shelf = this.shelfOf[number];
    const list = this.leftS.has(number) ? shelf.shown : shelf.fresh;
    const place = list.indexOf(number);
    if (place >= 0) list.splice(place, 1);
  }
}

/** What can be drawn of one cluster and energy: presets that were never shown, or else shown, longest ago first. */
function makeOffer(cluster, fresh, shown) {
  const isFresh = fresh.length > 0;
  return {
    cluster,
    presets: isFresh ? fresh : shown,
    fresh: isFresh,
    count: fresh.length + SHOWN_COUNT * shown.length,
  };
}

/** Which presets the rules leave, and which rules give way when they leave none. */
class Rules {
  constructor({ cooldownS, switches, order }) {
    Object.assign(this, { cooldownS, switches, order });
    this.picks = 0;
    this.lastPick = new Map();
  }

  note(cluster) {
    this.picks += 1;
    this.lastPick.set(cluster, this.picks);
  }

  /** How many picks ago a cluster was picked: 1 for the last pick's, more than any rule asks for never. */
  switchesAgo(cluster) {
    const last = this.lastPick.get(cluster);
    return last === undefined ? this.picks + this.switches + 1 : this.picks - last + 1;
  }

  /**
   * What may be drawn, and the rules that had to give way for it; no offers when nothing is left at all. A rule gives
   * way only as far as it must: a rule earlier in the order before a later one, the cluster cooldown by single
   * switches, the tier to the nearest one, the preset cooldown for those that left longest ago.
   */
  offers(stock, tier, nowS) {
    const steps = { clusterCooldown: 2, tier: TIER_STEPS[tier].length, presetCooldown: 2 };
    const [first, second, third] = this.order;
    const level = {};
    for (level[third] = 0; level[third] < steps[third]; level[third] += 1) {
      for (level[second] = 0; level[second] < steps[second]; level[second] += 1) {
        for (level[first] = 0; level[first] < steps[first]; level[first] += 1) {
          const shelves = TIER_STEPS[tier][level.tier].flatMap((energy) => stock.shelves[energy]);
          const found = this.ofShelves(stock, shelves, nowS, level.presetCooldown > 0, level.clusterCooldown === 0);
          if (found.length) return { offers: found, relaxed: this.order.filter((rule) => level[rule] > 0) };
        }
      }
    }
    return { offers: [], relaxed: [] };
  }

  /** What may be drawn of shelves; not `clusterKept`: of those whose cluster was picked longest ago. */
  ofShelves(stock, shelves, nowS, cooling, clusterKept) {
    const filled = [];
    let most = 0;
    for (const shelf of shelves) {
      const ready = cooling ? shelf.shown.length : stock.rested(shelf, nowS, this.cooldownS);
      if (!ready && (cooling || !shelf.fresh.length)) continue;
      const ago = this.switchesAgo(shelf.cluster);
      if (ago > most) most = ago;
      filled.push({ shelf, ready, ago });
    }
    const least = clusterKept ? this.switches : Math.min(this.switches, most) - 1;
    const kept = filled.filter(({ ago }) => ago > least);
    if (!cooling) {
      return kept.map(({ shelf, ready }) => makeOffer(shelf.cluster, shelf.fresh, shelf.shown.slice(0, ready)));
    }
    // All of them are cooling, or they had been found before.
    let firstS = Infinity;
    for (const { shelf } of kept) firstS = Math.min(firstS, stock.leftS.get(shelf.shown[0]));
    return kept
      .map(({ shelf }) => [shelf.cluster, shelf.shown.filter((number) => stock.leftS.get(number) === firstS)])
      .filter(([, presets]) => presets.length)
      .map(([cluster, presets]) => makeOffer(cluster, [], presets));
  }

  /** The favourites that may be drawn: tier and preset cooldown are kept, the cluster's is not heeded. */
  favourites(library, stock, favourites, tier, nowS) {
    const byCluster = new Map();
    for (const number of [...favourites].sort((a, b) => a - b)) {
      if (library.energies[number] !== tier || !stock.isReady(number, nowS, this.cooldownS)) continue;
      const cluster = library.clusters[number];
      if (!byCluster.has(cluster)) byCluster.set(cluster, []);
      byCluster.get(cluster).push(number);
    }
    return [...byCluster].map(([cluster, presets]) => {
      const shown = presets.filter((number) => !stock.isFresh(number));
      shown.sort((a, b) => stock.leftS.get(a) - stock.leftS.get(b));
      return makeOffer(cluster, presets.filter((number) => stock.isFresh(number)), shown);
    });
  }
}

/** An offer's weight is n / (n + mean n): it grows with the cluster, but large clusters do not take over the show. */
function weigh(offers, model) {
  let counted = 0;
  for (const { count } of offers) counted += count;
  const mean = counted / offers.length;
  const weights = offers.map(({ count }) => count / (count + mean));
  if (model === null) return weights;
  const even = 1 / offers.length;
  return offers.map(({ cluster }, i) => {
    const told = Object.hasOwn(model, cluster) ? finite(model[cluster]) : null;
    const share = told !== null && told >= 0 && told <= 1 ? told : even;
    return weights[i] * ((1 - EXPLORED_FRACTION) * share + EXPLORED_FRACTION * even);
  });
}

function placeOf(weights, point) {
  let reached = 0;
  for (let place = 0; place < weights.length; place += 1) {
    reached += weights[place];
    if (point < reached) return place;
  }
  return weights.length - 1;
}

/** Presets that were never shown are equally likely; else the longest ago weighs as much as there are, the last 1. */
function placeWithin({ presets, fresh }, fraction) {
  const count = presets.length;
  if (fresh) return Math.floor(fraction * count);
  const weights = presets.map((_number, place) => count - place);
  return placeOf(weights, fraction * ((count * (count + 1)) / 2));
}

function probabilityOf({ presets, fresh }, share, place) {
  const count = presets.length;
  return fresh ? share / count : share * ((count - place) / ((count * (count + 1)) / 2));
}

function likeliest(offers, shares) {
  const best = offers.map((offer, i) => probabilityOf(offer, shares[i], 0));
  // Whose best preset is behind the eighth best has none to list.
  const least = [...best].sort((a, b) => b - a).slice(0, LISTED_CANDIDATES).at(-1);
  const listed = [];
  offers.forEach((offer, i) => {
    if (best[i] < least) return;
    for (let place = 0; place < Math.min(LISTED_CANDIDATES, offer.presets.length); place += 1) {
      const probability = probabilityOf(offer, shares[i], place);
      listed.push({ number: offer.presets[place], cluster: offer.cluster, probability });
    }
  });
  return listed.sort((a, b) => b.probability - a.probability || a.number - b.number).slice(0, LISTED_CANDIDATES);
}

/** Draws a cluster's offer, then a preset of it. */
function draw(offers, model, random) {
  const weights = weigh(offers, model);
  let total = 0;
  for (const weight of weights) total += weight;
  const chosen = placeOf(weights, random.fraction() * total);
  const shares = weights.map((weight) => weight / total);
  const offer = offers[chosen];
  const place = placeWithin(offer, random.fraction());
  return {
    preset: offer.presets[place],
    probability: probabilityOf(offer, shares[chosen], place),
    candidateCount: offers.reduce((count, { presets }) => count + presets.length, 0),
    listed: likeliest(offers, shares),
  };
}

/** Why the preset on screen leaves now, null while it stays. */
function whyNow(times, music, tier, screen, nowS) {
  const dwellS = nowS - screen.sinceS;
  const least = times.minDwellS[tier];
  if (dwellS < least) return null;
  if (music.section) return "section";
  const waited = Math.min(dwellS - least, nowS - (screen.releasedS ?? screen.sinceS));
  const longest = times.maxWaitS[tier];
  const changed = tier !== screen.pickedFor;
  if (music.tempoConfidence < times.minTempoConfidence) return screen.section ? "section" : changed ? "tier" : "noBeat";
  if (changed && (music.beat || waited >= longest)) return "tier";
  if (screen.section && (music.bar || waited >= longest)) return "section"; // its moment is over: a bar will do
  if (changed) return null;
  if (music.phrase) return "phrase";
  if (music.bar && waited >= longest / 2) return "bar";
  if (music.beat && waited >= longest) return "beat";
  return waited >= longest + LONGEST_BEAT_S ? "wait" : null;
}

function release(screen, nowS) {
  if (screen.heldSinceS === null) return;
  screen.heldS += nowS - screen.heldSinceS;
  screen.heldSinceS = null;
  screen.releasedS = nowS;
  screen.section = false; // what the music did meanwhile was not to change the picture
}

export class Selector {
  #library;
  #times;
  #rules;
  #stock;
  #random;
  #indexHash;
  #favourites;
  #screen = null;
  #picks = 0;
  #skip = false;
  #failed = false;
  #tier = "groove";
  #nowS = null;
  #offsetS = 0;

  constructor({ index, selection = {}, seed = 0, indexHash = "", favourites = [], blacklist = [] }) {
    this.#library = readLibrary(index);
    this.#times = readSelection(selection);
    this.#rules = new Rules(this.#times);
    this.#stock = new Stock(this.#library);
    this.#random = new Random32(seed);
    this.#indexHash = indexHash;
    const known = (ids) => [...ids].filter((id) => this.#library.numbers.has(id));
    this.#favourites = new Set(known(favourites).map((id) => this.#library.numbers.get(id)));
    for (const id of known(blacklist)) this.#stock.ban(this.#library.numbers.get(id));
  }

  get problem() {
    const count = this.#library.ids.length;
    if (!count) return "The style index has no preset with presetId, authorKey and energy: publish the pack.";
    if (!this.#stock.waiting && !this.#screen) return `All ${count} presets of the style index are blacklisted.`;
    return null;
  }

  get onScreen() {
    return this.#screen ? this.#library.ids[this.#screen.preset] : null;
  }

  /** Hears what comes next and returns what changes: {end, pick}, both null while what is on screen stays. */
  step(observation) {
    const music = hear(observation);
    const nowS = this.#advance(music.timeS);
    this.#tier = music.tier ?? this.#tier;
    const reason = this.#reason(music, nowS);
    if (reason === null) return { end: null, pick: null };
    this.#skip = false;
    if (this.#stock.waiting) return this.#switch(music, nowS, reason);
    // Nothing else: what is on screen stays, unless the person banned it.
    const gone = this.#screen && this.#stock.banned.has(this.#screen.preset);
    return { end: gone ? this.#leave(nowS, "skip") : null, pick: null };
  }

  /** Notes what the person did to the preset on screen; null when there is none, or no such act. */
  act(act, timeS) {
    const nowS = this.#advance(finite(timeS));
    const screen = this.#screen;
    if (!screen || !ACTS.includes(act)) return null;
    if (act === "hold") screen.heldSinceS ??= nowS;
    else if (act === "release") release(screen, nowS);
    else if (act === "favourite") this.#favourites.add(screen.preset);
    else if (act === "unfavourite") this.#favourites.delete(screen.preset);
    else this.#skip = true;
    if (act === "blacklist") this.#stock.ban(screen.preset);
    return { kind: "act", timeS: nowS, act, presetId: this.#library.ids[screen.preset] };
  }

  /**
   * What was picked cannot be shown: it leaves, is never picked again, and the next step picks at once. A preset that
   * left the screen before that turned out is only never picked again; null is returned.
   */
  fail(timeS, error, presetId = this.onScreen) {
    const nowS = this.#advance(finite(timeS));
    const number = this.#library.numbers.get(presetId);
    if (number === undefined) return null;
    this.#stock.ban(number);
    if (this.#screen?.preset !== number) return null;
    this.#failed = true;
    return { ...this.#leave(nowS, "failed"), error };
  }

  /** Ends the show: what is on screen leaves. */
  finish(timeS) {
    const nowS = this.#advance(finite(timeS));
    return this.#leave(nowS, "stop");
  }

  /** The show's time, which never goes back. */
  #advance(toldS) {
    if (toldS !== null && this.#nowS === null) {
      this.#nowS = toldS;
    } else if (toldS !== null) {
      if (toldS + this.#offsetS < this.#nowS - SEEK_S) this.#offsetS = this.#nowS - toldS;
      this.#nowS = Math.max(this.#nowS, toldS + this.#offsetS);
    }
    return this.#nowS ?? 0;
  }

  #reason(music, nowS) {
    const screen = this.#screen;
    if (!screen) return this.#failed ? "failed" : "start";
    screen.section ||= music.section;
    if (this.#skip) return "skip";
    if (screen.heldSinceS !== null) return null;
    return whyNow(this.#times, music, this.#tier, screen, nowS);
  }

  #switch(music, nowS, reason) {
    const { ids, clusters, energies } = this.#library;
    const tier = this.#tier;
    let offers = this.#rules.favourites(this.#library, this.#stock, this.#favourites, tier, nowS);
    const favourite = offers.length > 0;
    let relaxed = [];
    if (!favourite) ({ offers, relaxed } = this.#rules.offers(this.#stock, tier, nowS));
    const { preset, probability, candidateCount, listed } = draw(offers, music.model, this.#random);
    const end = this.#leave(nowS, ENDED_BY[reason] ?? "switch");
    const cluster = clusters[preset];
    const pick = {
      kind: "pick",
      number: this.#picks,
      timeS: nowS,
      tier,
      features: music.features,
      candidateCount,
      candidates: listed.map((one) => ({
        presetId: ids[one.number],
        cluster: one.cluster,
        probability: one.probability,
      })),
      presetId: ids[preset],
      cluster,
      energy: energies[preset],
      probability,
      relaxed,
      reason,
      favourite,
      indexHash: this.#indexHash,
    };
    this.#stock.take(preset);
    this.#failed = false;
    this.#rules.note(cluster);
    this.#screen = {
      preset,
      number: this.#picks,
      pickedFor: tier,
      sinceS: nowS,
      section: false,
      heldSinceS: null,
      heldS: 0,
      releasedS: null,
    };
    this.#picks += 1;
    return { end, pick };
  }

  #leave(nowS, endedBy) {
    const screen = this.#screen;
    if (!screen) return null;
    release(screen, nowS);
    this.#stock.putBack(nowS);
    this.#screen = null;
    return {
      kind: "end",
      number: screen.number,
      timeS: nowS,
      presetId: this.#library.ids[screen.preset],
      cluster: this.#library.clusters[screen.preset],
      dwellS: nowS - screen.sinceS,
      endedBy,
      heldS: screen.heldS,
    };
  }
}
