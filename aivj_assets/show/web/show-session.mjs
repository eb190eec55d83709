// One show: a track's rows through the selector, what the person does, and every line of it into the log.
//
// Belongs here: the show's clock, which only goes on while music plays. Does not belong here: sound and pictures.

import { Selector } from "./aivj-selector.mjs";

export class Session {
  #selector;
  #log;
  #row = -1; // the last row that was heard
  #offsetS = 0; // show time - track time: seeking is no time that passed
  #nowS = 0;
  #begun = false;
  #jumping = true;
  #presetIds = []; // by number of the pick

  /**
   * `events`: `picked(pick)`, `ended(end)`. `probabilities(features, tier)` gives the model's {cluster: p}, or null.
   * `log.push(line)` gets every line after the session line.
   */
  constructor({ pack, seed, timeline, store, log, events, probabilities }) {
    this.timeline = timeline;
    this.store = store;
    this.events = events;
    this.probabilities = probabilities;
    this.#log = log;
    this.pick = null; // the pick on screen, or on its way there
    this.held = false;
    this.over = false;
    this.waits = false; // nothing is picked until the person says so
    this.#selector = new Selector({
      index: pack.index,
      selection: pack.selection,
      seed,
      indexHash: pack.indexHash,
      favourites: store.ids("favourites"),
      blacklist: store.ids("blacklist"),
    });
  }

  /** Why nothing can be shown, or null. */
  get problem() {
    return this.#selector.problem;
  }

  get row() {
    return this.#row;
  }

  get nowS() {
    return this.#nowS;
  }

  /** The track goes on at another place: what lies between was not heard. */
  jump() {
    this.#jumping = true;
  }

  /** Hears all rows up to the track's time; waits while the server has not come so far. */
  advance(trackTimeS) {
    const last = this.timeline.rowAt(trackTimeS);
    if (this.over || this.waits || last < 0) return;
    if (this.#jumping) {
      if (!this.timeline.isKnownAt(trackTimeS)) return;
      this.#jumping = false;
      this.#row = last - 1;
      if (this.#begun) this.#offsetS = this.#nowS + this.timeline.rowS - this.timeline.timeOf(last);
    }
    while (this.#row < last) {
      this.#row += 1;
      this.#hear(this.#row);
    }
  }

  /** Picks without waiting for the next row, also while the music pauses; after a skip or a failure. */
  pickNow() {
    if (this.#begun && !this.over && !this.waits) this.#hear(this.#row, this.#nowS);
  }

  #hear(row, showTimeS = this.timeline.timeOf(row) + this.#offsetS) {
    const heard = this.timeline.observation(row);
    heard.timeS = showTimeS;
    this.#nowS = showTimeS;
    this.#begun = true;
    const told = this.probabilities(heard.features, heard.tier);
    if (told) heard.clusterProbabilities = told;
    this.#take(this.#selector.step(heard));
  }

  #take({ end, pick }) {
    if (end) this.#leave(end);
    if (!pick) return;
    this.#log.push({ ...pick, trackTimeS: this.timeline.timeOf(this.#row) });
    this.pick = pick;
    this.#presetIds[pick.number] = pick.presetId;
    this.held = false;
    this.events.picked(pick);
  }

  #leave(end) {
    this.#log.push(end);
    this.pick = null;
    this.held = false;
    this.events.ended(end);
  }

  /** What the person did: skip, favourite (again: none), hold (again: release), blacklist. Null: nothing is on. */
  act(name) {
    if (!this.pick || this.over) return null;
    const { presetId } = this.pick;
    let act = name;
    if (name === "favourite" && this.store.has("favourites", presetId)) act = "unfavourite";
    if (name === "hold" && this.held) act = "release";
    const line = this.#selector.act(act, this.#nowS);
    if (!line) return null;
    this.#log.push(line);
    if (act === "favourite" || act === "unfavourite") this.store.set("favourites", presetId, act === "favourite");
    if (act === "blacklist") this.store.set("blacklist", presetId, true);
    if (act === "hold" || act === "release") this.held = act === "hold";
    return act;
  }

  /** A pick cannot be shown: it is passed over for the rest of the show. False when it left already. */
  fail(number, why) {
    const presetId = this.#presetIds[number];
    if (this.over || presetId === undefined) return false;
    const end = this.#selector.fail(this.#nowS, why, presetId);
    if (end) this.#leave(end);
    return end !== null;
  }

  /** The show is over: the music ended, another track was chosen, the page is closed. */
  finish() {
    if (this.over) return;
    const end = this.#selector.finish(this.#nowS);
    if (end) this.#leave(end);
    this.over = true;
  }
}
