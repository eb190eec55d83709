// Two stages, one over the other: the preset on screen goes on until the next one is compiled, then they crossfade.
//
// Belongs here: the stages' frames and ports, loading, fading, what became of a stage that hangs. Does not belong here:
// which preset and when. What a stage says is checked: a preset's code may have got hold of its port.

const STAGE = "/stage.html";
// A stage at a name of its own runs in a process of its own; the first one is at the page's, which always works.
const NAME_LIMIT_MS = 15_000; // until then it has booted, or the browser cannot find the name
const BOOT_LIMIT_MS = 60_000;
const LOAD_LIMIT_MS = 12_000;
const SILENT_LIMIT_MS = 8_000;
const NOBODYS = -1; // a pick of a show that is over
const CODES = /^[a-z-]{1,40}$/;

function isText(value, most) {
  return typeof value === "string" && value.length <= most;
}

/** One stage: a frame without an origin. `say(deck, message)` gets its messages. */
class Deck {
  constructor(box, origin, say) {
    this.box = box;
    this.isNamed = origin !== location.origin;
    this.say = say;
    this.token = 0; // of what was asked to be loaded
    this.state = "booting"; // booting, idle, loading, playing
    this.since = performance.now();
    this.heardAt = this.since;
    this.frame = document.createElement("iframe");
    this.frame.title = "Preset";
    this.frame.setAttribute("sandbox", "allow-scripts");
    this.frame.setAttribute("aria-hidden", "true");
    this.frame.tabIndex = -1;
    this.frame.className = "deck";
    this.frame.src = `${origin}${STAGE}`;
    this.onOffer = (event) => this.#adopt(event);
    addEventListener("message", this.onOffer);
    box.append(this.frame);
  }

  #adopt(event) {
    if (event.source !== this.frame.contentWindow || event.data?.type !== "aivj-stage" || this.port) return;
    [this.port] = event.ports;
    this.problem = isText(event.data.problem, 1000) ? event.data.problem : "";
    this.port.onmessage = ({ data }) => this.#hear(data);
    this.state = "idle";
    this.say(this, { type: "ready" });
  }

  #hear(data) {
    if (data === null || typeof data !== "object" || !isText(data.type, 20)) return;
    this.heardAt = performance.now();
    this.say(this, data);
  }

  load(token, number, text, width, height) {
    this.token = token;
    this.number = number;
    this.state = "loading";
    this.since = this.heardAt = performance.now();
    this.port.postMessage({ type: "load", token, text, width, height });
  }

  clear() {
    if (this.state === "idle" || this.state === "booting") return;
    this.token = 0;
    this.state = "idle";
    this.port.postMessage({ type: "clear" });
  }

  sound(sound) {
    if (this.state === "playing" || this.state === "loading") this.port.postMessage({ type: "sound", sound });
  }

  remove() {
    removeEventListener("message", this.onOffer);
    this.port?.close();
    this.frame.remove();
  }
}

/**
 * The decks of a show. `events`: `loaded({number, loadMs})`, `failed({number, code, text})`,
 * `frames({fps, longestMs})`, `ready()`, `broken(text)` when the browser cannot draw at all.
 */
export class Decks {
  constructor(box, events) {
    this.box = box;
    this.events = events;
    this.made = 0;
    this.hasNames = true;
    this.deckOf = [this.#make(), null]; // the second boots when the first has: the first pick waits for one only
    this.top = null; // the deck on screen
    this.loading = null; // {deck, fadeMs, isDropped}: one at a time, and never broken off
    this.next = null; // {number, text, fadeMs}: what comes after it
    this.scale = 1;
    this.tokens = 0;
    this.watch = setInterval(() => this.#watch(), 500);
  }

  #make() {
    this.made += 1;
    const named = `http://stage-${this.made}.localhost:${location.port}`;
    const origin = this.made > 1 && this.hasNames ? named : location.origin;
    return new Deck(this.box, origin, (deck, message) => this.#hear(deck, message));
  }

  /**
   * Brings a preset on screen as soon as it is compiled; `number` tells which in the events. `isInstead`: of whatever
   * is still being compiled, which is not shown any more.
   */
  show(number, text, fadeMs, isInstead) {
    this.next = { number, text, fadeMs };
    if (isInstead && this.loading) this.loading.isDropped = true;
    this.#load();
  }

  #load() {
    if (this.loading || !this.next) return;
    // The one that is not on screen; its fade is cut short where it still goes on.
    const deck = this.deckOf.find((one) => one && one !== this.top && one.state !== "booting");
    if (!deck) return;
    const { number, text, fadeMs } = this.next;
    this.next = null;
    this.tokens += 1;
    this.loading = { deck, fadeMs, isDropped: false };
    deck.frame.classList.remove("on");
    const ratio = Math.min(devicePixelRatio || 1, 2) * this.scale;
    const size = (length) => Math.max(64, Math.min(2560, Math.round((length * ratio) / 2) * 2));
    deck.load(this.tokens, number, text, size(this.box.clientWidth), size(this.box.clientHeight));
  }

  #hear(deck, message) {
    if (message.type === "ready") {
      if (deck.problem) this.events.broken(deck.problem);
      this.events.ready();
      if (!this.deckOf[1]) this.deckOf[1] = this.#make();
      this.#load();
      return;
    }
    if (message.type === "cleared") {
      if (Array.isArray(message.tampered) && message.tampered.length > 0) this.#replace(deck);
      return;
    }
    if (message.token !== deck.token) return;
    if (message.type === "loaded" && deck === this.loading?.deck) this.#finishLoading(message);
    else if (message.type === "failed") {
      const text = isText(message.text, 2000) ? message.text : "";
      this.#fail(deck, CODES.test(message.code) ? message.code : "probe-error", text, message.tampered);
    } else if (message.type === "frames" && deck === this.top) this.#count(message);
  }

  #finishLoading({ loadMs }) {
    const { deck, fadeMs, isDropped } = this.loading;
    this.loading = null;
    if (isDropped) deck.clear();
    else {
      // With another one waiting already there is no time for a fade.
      this.#bring(deck, this.next ? 0 : fadeMs);
      this.events.loaded({ number: deck.number, loadMs: Number(loadMs) || 0 });
    }
    this.#load();
  }

  #bring(deck, fadeMs) {
    deck.state = "playing";
    const old = this.top;
    this.top = deck;
    deck.frame.style.transitionDuration = `${fadeMs}ms`;
    deck.frame.style.zIndex = 2;
    deck.frame.classList.add("on");
    if (!old) return;
    old.frame.style.zIndex = 1;
    const { token } = old;
    setTimeout(() => {
      if (old.token !== token || old === this.top) return;
      old.frame.classList.remove("on");
      old.clear();
    }, fadeMs + 50);
  }

  #fail(deck, code, text, tampered, hung = false) {
    deck.state = "idle";
    deck.token = 0;
    deck.frame.classList.remove("on");
    if (deck === this.loading?.deck) this.loading = null;
    if (deck === this.top) this.top = null;
    if (hung || (Array.isArray(tampered) && tampered.length > 0)) this.#replace(deck);
    // Also of one that fades out already or was dropped: it is not to be picked again.
    this.events.failed({ number: deck.number, code, text });
    this.#load();
  }

  #replace(deck) {
    deck.remove();
    const at = this.deckOf.indexOf(deck);
    if (at >= 0) this.deckOf[at] = this.#make();
    if (deck === this.top) this.top = null;
  }

  /** Smaller pictures where the machine does not keep up, larger ones where it has room; from the next load on. */
  #count({ frames, spanMs, longestMs }) {
    const fps = (1000 * frames) / spanMs;
    if (!(fps >= 0 && fps < 1000)) return;
    if (fps < 24) this.scale = Math.max(0.25, this.scale * 0.9);
    else if (fps > 50) this.scale = Math.min(1, this.scale * 1.02);
    this.events.frames({ fps, longestMs: Number(longestMs) || 0 });
  }

  #watch() {
    const at = performance.now();
    for (const deck of this.deckOf) {
      if (!deck) continue;
      if (document.hidden) deck.heardAt = deck.since = at; // nothing is drawn, so nothing is heard
      const bootLimitMs = deck.isNamed && this.hasNames ? NAME_LIMIT_MS : BOOT_LIMIT_MS;
      const over =
        (deck.state === "booting" && at - deck.since > bootLimitMs) ||
        (deck.state === "loading" && at - deck.since > LOAD_LIMIT_MS) ||
        (deck.state === "playing" && at - deck.heardAt > SILENT_LIMIT_MS);
      if (!over) continue;
      if (deck.state === "booting") {
        this.hasNames &&= !deck.isNamed;
        this.#replace(deck);
      } else {
        const silentS = Math.round((at - deck.heardAt) / 1000);
        this.#fail(deck, "watchdog", `nothing was heard of it for ${silentS} s`, [], true);
      }
    }
  }

  /** Hands the sound of now to the presets that are drawn. */
  sound(sound) {
    for (const deck of this.deckOf) deck?.sound(sound);
  }

  /** Takes everything off the screen. */
  clear() {
    this.next = null;
    if (this.loading) this.loading.isDropped = true;
    this.top = null;
    for (const deck of this.deckOf) {
      if (!deck) continue;
      deck.number = NOBODYS;
      deck.frame.classList.remove("on");
      if (deck !== this.loading?.deck) deck.clear();
    }
  }
}
