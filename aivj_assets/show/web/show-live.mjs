// A show under way: music in, picks by the selector, pictures by the stages, every line into the log.

import { Decks } from "./show-decks.mjs";
import { ShowLog } from "./show-log.mjs";
import { notice } from "./show-notices.mjs";
import { Overlay } from "./show-overlay.mjs";
import { Player } from "./show-player.mjs";
import { Session } from "./show-session.mjs";
import { Store } from "./show-store.mjs";
import { Timeline, readParts } from "./show-timeline.mjs";
import { shortName } from "./show-words.mjs";

const TICK_MS = 50;
const PANEL_EVERY_MS = 60;
const RETRY_MS = 2000;
const FADE_MS = { start: 400, skip: 500, section: 500, failed: 500, tier: 900 };
const USUAL_FADE_MS = 1800;
const MOST_FAILURES = 8; // in a row: then it is not the presets
const byId = (id) => document.getElementById(id);

export class Show {
  constructor(pack) {
    this.pack = pack;
    this.store = new Store(pack.pack);
    this.player = new Player(byId("music"));
    this.overlay = new Overlay(pack);
    this.labels = new Map();
    this.session = null;
    this.track = null; // {name, facts, timeline}
    this.model = null; // (features, tier) → {cluster: probability}
    this.isModelOn = false;
    this.failures = 0;
    this.opened = 0;
    this.decks = new Decks(byId("screen"), {
      ready: () => {},
      broken: (text) => notice(`This browser cannot draw presets: ${text}`, { isProblem: true, stays: true }),
      loaded: () => {
        this.failures = 0;
      },
      failed: ({ number, code, text }) => this.passOver(number, `${code}${text ? `: ${text}` : ""}`),
      frames: ({ fps }) => this.overlay.showDrawing(fps),
    });
    this.#listen();
  }

  get audio() {
    return this.player.audio;
  }

  /** Loads the audio -> style model's few lines, where the pack has a model. */
  async useModel() {
    const { model, modelProblem } = this.pack;
    if (modelProblem) notice(`The rule picks alone: ${modelProblem}`, { isProblem: true });
    if (!model) return;
    try {
      const { styleProbabilities } = await import("./aivj-audio-style.mjs");
      this.model = (features, tier) => styleProbabilities(model, features, tier);
      this.model({}, "calm"); // a model that cannot be evaluated says so now
      this.isModelOn = true;
    } catch (error) {
      this.model = null;
      notice(`The audio → style model cannot be used: ${error.message}`, { isProblem: true });
    }
  }

  // Music

  /** Opens a file, or the track that the command named; music plays at once, presets come as soon as it is heard. */
  async open(source) {
    const { name, size } = source instanceof File ? source : { name: source.name, size: 0 };
    if (size > this.pack.maxAudioBytes) {
      this.refuse(`${name} is larger than ${this.pack.maxAudioBytes >> 30} GiB.`);
      return;
    }
    this.end();
    this.hearing?.abort();
    this.hearing = new AbortController();
    this.opened += 1;
    const turn = this.opened;
    this.track = { name, facts: null, timeline: null };
    byId("start").hidden = true;
    byId("start-problem").hidden = true;
    this.showPanel(true);
    byId("track-name").textContent = name;
    byId("listening").textContent = "listening …";
    this.overlay.showNothing("Listening …");
    this.player.open(source instanceof File ? source : source.url);
    this.play();
    try {
      await this.#hear(source, turn);
    } catch (error) {
      if (turn === this.opened) this.#stopHearing(error.message);
    }
  }

  async #hear(source, turn) {
    const isFile = source instanceof File;
    const address = isFile ? `/api/track?name=${encodeURIComponent(source.name)}` : "/api/track/given";
    const { signal } = this.hearing;
    const response = await fetch(address, { method: "POST", body: isFile ? source : "", signal });
    if (!response.ok)
      throw new Error((await response.json().catch(() => ({}))).error ?? "the server did not take the file");
    await readParts(response, (part) => {
      if (turn === this.opened) this.#takePart(part);
    });
    if (turn === this.opened && !this.track.timeline?.done)
      throw new Error("The server stopped listening to the music.");
  }

  /** Nothing more is heard of the music: what was heard so far is played, if anything. */
  #stopHearing(why) {
    if (!this.session) {
      this.refuse(why);
      return;
    }
    notice(why, { isProblem: true });
    this.track.timeline.done = true;
    byId("listening").textContent = "";
  }

  #takePart(part) {
    const { track } = this;
    if (part.error) throw new Error(part.error);
    if (part.track) {
      track.facts = part.track;
      track.timeline = new Timeline(part);
      for (const warning of part.track.warnings ?? []) notice(warning);
    } else if (part.tiers) {
      track.timeline.append(part);
      if (!this.session) this.begin();
    }
    if (part.done) {
      track.timeline.done = true;
      byId("listening").textContent = "";
    }
  }

  /** The music cannot be used: says so and offers to choose another. */
  refuse(text) {
    this.opened += 1;
    this.end();
    this.audio.pause();
    this.track = null;
    this.decks.clear();
    this.showPanel(false);
    byId("start").hidden = false;
    byId("start-problem").textContent = text;
    byId("start-problem").hidden = false;
  }

  async play() {
    if (!this.track) return;
    if (this.session?.over) this.begin();
    try {
      if (!(await this.player.play())) notice("The browser wants a key or a click first: press Space.");
    } catch (error) {
      if (this.track) this.refuse(`The browser cannot play ${this.track.name} (${error.message}).`);
    }
  }

  togglePlay() {
    if (this.audio.paused) this.play();
    else this.audio.pause();
  }

  // The show

  /** Begins a show, with a log of its own, where the track is now. */
  begin() {
    const { pack, track } = this;
    const seed = pack.seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
    const hasModel = this.model !== null && this.isModelOn;
    const line = {
      kind: "session",
      version: "v0",
      source: "show",
      startedAt: new Date().toISOString(),
      pack: pack.pack,
      indexHash: pack.indexHash,
      seed,
      track: track.facts,
      ...(hasModel ? { modelHash: pack.modelHash } : {}),
    };
    this.failures = 0;
    this.log = new ShowLog(line, (text) => notice(text, { isProblem: true, stays: true }));
    this.session = new Session({
      pack,
      seed,
      timeline: track.timeline,
      store: this.store,
      log: this.log,
      probabilities: hasModel ? this.model : () => null,
      events: { picked: (pick) => this.#picked(pick), ended: () => {} },
    });
    if (this.session.problem) this.#nothingLeft();
  }

  end() {
    this.session?.finish();
    this.session = null;
  }

  #nothingLeft() {
    this.decks.clear();
    this.overlay.showNothing(this.session.problem);
  }

  async #picked(pick) {
    const { session } = this;
    this.overlay.showPick(pick, this.labels.get(pick.presetId));
    const isWanted = () => session === this.session && session.pick?.number === pick.number;
    while (isWanted()) {
      try {
        const response = await fetch(`/api/preset?id=${encodeURIComponent(pick.presetId)}`);
        const { text, label, error } = await response.json();
        if (!isWanted()) return;
        if (!response.ok) {
          this.passOver(pick.number, error);
          return;
        }
        this.labels.set(pick.presetId, label);
        this.overlay.showPick(pick, label);
        const fadeMs = FADE_MS[pick.reason] ?? USUAL_FADE_MS;
        this.decks.show(pick.number, text, fadeMs, pick.reason === "skip");
        return;
      } catch {
        notice("The server does not answer: is aivj show still running?", { isProblem: true });
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  /** A preset cannot be shown: the next one, and a word about it. */
  passOver(number, why) {
    const { session } = this;
    const presetId = session?.pick?.presetId;
    if (!session?.fail(number, why.slice(0, 300))) return;
    const name = this.labels.get(presetId) ?? shortName(presetId, this.pack.pack);
    notice(`Passed over ${name}: ${why.split("\n")[0].slice(0, 120)}`, { isProblem: true });
    this.failures += 1;
    if (this.failures < MOST_FAILURES) session.pickNow();
    else {
      session.waits = true;
      const text = `${this.failures} presets in a row could not be shown. Skip tries the next one.`;
      notice(text, { isProblem: true, stays: true });
    }
    if (session.problem) this.#nothingLeft();
  }

  act(name) {
    const { session } = this;
    if (!session) return;
    if (name === "skip" && session.waits) {
      session.waits = false;
      session.jump(); // what was not heard meanwhile stays unheard
      this.failures = 0;
      session.pickNow();
      return;
    }
    const act = session.act(name);
    if (act === "skip" || act === "blacklist") session.pickNow();
    if (act === "blacklist") notice("Never shown again in this browser. The keys' window takes it back.");
    if (session.problem && !session.pick) this.#nothingLeft();
    this.controls.refresh();
  }

  toggleModel() {
    if (!this.model) return;
    this.isModelOn = !this.isModelOn;
    notice(this.isModelOn ? "The audio → style model takes part." : "The rule picks alone.");
    if (!this.session || this.session.over) return;
    // A log tells once whether the model took part.
    this.end();
    this.begin();
  }

  // The page

  showPanel(isShown) {
    byId("panel").hidden = !isShown;
    byId("show-panel").hidden = isShown || !this.track;
  }

  fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else
      document.documentElement.requestFullscreen().catch(() => notice("The browser does not allow full screen here."));
  }

  chooseFile() {
    byId("file").click();
  }

  showKeys() {
    const count = this.store.ids("blacklist").length;
    byId("forget").hidden = count === 0;
    const what = count === 1 ? "the blacklisted preset" : `all ${count} blacklisted presets`;
    byId("forget").textContent = `Show ${what} again, from the next show on`;
    byId("keys").showModal();
    byId("keys").querySelector("[type=submit]").focus();
  }

  #listen() {
    const { audio } = this;
    audio.addEventListener("seeking", () => this.session?.jump());
    audio.addEventListener("ended", () => {
      this.session?.finish();
      notice("The music has ended.");
    });
    audio.addEventListener("error", () => {
      if (this.track) this.refuse(`The browser cannot play ${this.track.name}: choose a wav, flac, ogg or mp3 file.`);
    });
    for (const event of ["play", "pause", "ended"]) audio.addEventListener(event, () => this.controls.refresh());
    byId("seek").addEventListener("input", ({ target }) => {
      audio.currentTime = Number(target.value);
    });
    byId("forget").addEventListener("click", () => {
      this.store.clear("blacklist");
      byId("forget").hidden = true;
    });
    byId("show-panel").addEventListener("click", () => this.showPanel(true));
    addEventListener("pagehide", () => {
      this.session?.finish();
      this.log?.sendLast();
    });
    // Back from the browser's memory of closed pages: that show is over.
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
    setInterval(() => this.#tick(), TICK_MS);
    let drawnAt = 0;
    const frame = (at) => {
      const sound = this.player.sound();
      if (sound) this.decks.sound(sound);
      if (at - drawnAt >= PANEL_EVERY_MS && !byId("panel").hidden) {
        drawnAt = at;
        this.overlay.update(this.session, audio.currentTime, audio.duration || 0);
      }
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  #tick() {
    const { audio, session } = this;
    if (!session || audio.paused || audio.seeking) return;
    session.advance(audio.currentTime);
    if (!session.pick && session.problem) this.overlay.showNothing(session.problem);
  }
}
