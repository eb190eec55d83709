// The panel over the pictures: the music now, what is on screen, why it was picked.

import { clock, dwellText, reasonText, relaxedText, shortName } from "./show-words.mjs";

const HISTORY_S = 120;
const METERS = ["loudness", "low", "mid", "high"];
const BEAT_FADE_S = 0.25;
const byId = (id) => document.getElementById(id);

function cell(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

export class Overlay {
  constructor(pack) {
    this.pack = pack;
    this.fills = new Map();
    for (const name of METERS) {
      const box = document.createElement("div");
      const bar = document.createElement("dd");
      const fill = document.createElement("i");
      bar.append(fill);
      box.append(cell("dt", name), bar);
      byId("meters").append(box);
      this.fills.set(name, fill);
    }
    const style = getComputedStyle(document.documentElement);
    this.colours = Object.fromEntries(
      ["calm", "groove", "peak"].map((tier) => [tier, style.getPropertyValue(`--${tier}`)]),
    );
    this.canvas = byId("history");
  }

  /** Shows a pick: its name as the manifest has it (or short), its style, the reason, the likeliest others. */
  showPick(pick, label) {
    const { pack } = this;
    byId("preset-name").textContent = label ?? shortName(pick.presetId, pack.pack);
    const style = pack.clusters[pick.cluster];
    byId("preset-style").textContent = `${pick.cluster}${style ? ` · ${style}` : ""} · ${pick.energy}`;
    byId("reason").textContent = reasonText(pick);
    byId("relaxed").textContent = relaxedText(pick);
    byId("relaxed").hidden = pick.relaxed.length === 0;
    const most = Math.max(...pick.candidates.map(({ probability }) => probability), pick.probability);
    const rows = pick.candidates.slice(0, 5);
    if (!rows.some(({ presetId }) => presetId === pick.presetId)) rows.splice(-1, 1, pick);
    byId("candidates").replaceChildren(...rows.map((one) => this.#candidate(one, pick, most)));
    const count = pick.candidateCount;
    byId("candidate-count").textContent =
      count === 1 ? "The only candidate." : `Of ${count.toLocaleString("en")} candidates.`;
  }

  #candidate({ presetId, cluster, probability }, pick, most) {
    const row = document.createElement("li");
    if (presetId === pick.presetId) row.setAttribute("aria-current", "true");
    const bar = document.createElement("i");
    bar.style.width = `${(100 * probability) / most}%`;
    const share = probability >= 0.001 ? `${(100 * probability).toFixed(1)} %` : "< 0.1 %";
    row.append(bar, cell("bdi", `${cluster} ${shortName(presetId, this.pack.pack)}`), cell("span", share));
    return row;
  }

  showNothing(text) {
    byId("preset-name").textContent = text;
    for (const id of ["preset-style", "dwell", "reason", "candidate-count", "drawing"]) byId(id).textContent = "";
    byId("relaxed").hidden = true;
    byId("candidates").replaceChildren();
  }

  showDrawing(fps) {
    byId("drawing").textContent = `${Math.round(fps)} pictures a second`;
  }

  /** Brings everything that moves up to date; called a few times a second. */
  update(session, trackTimeS, durationS) {
    byId("time").textContent = `${clock(trackTimeS)} / ${clock(durationS)}`;
    const seek = byId("seek");
    seek.max = String(durationS || 1);
    if (!seek.matches(":active")) seek.value = String(trackTimeS);
    if (!session || session.row < 0) return;
    const { timeline, row, pick } = session;
    this.#updateMusic(timeline, row);
    this.#drawHistory(timeline, row);
    if (!pick) return;
    const onScreenS = session.nowS - pick.timeS;
    const tier = timeline.tiers[row];
    const { text, fraction } = dwellText({ onScreenS, held: session.held, tier, selection: this.pack.selection });
    byId("dwell").textContent = text;
    byId("dwell-bar").value = fraction;
    byId("favourite-mark").textContent = session.store.has("favourites", pick.presetId) ? "★ " : "";
  }

  #updateMusic(timeline, row) {
    for (const mark of document.querySelectorAll(".tier")) {
      mark.toggleAttribute("aria-current", mark.dataset.tier === timeline.tiers[row]);
    }
    for (const [name, fill] of this.fills) {
      fill.style.transform = `scaleX(${Math.min(1, Math.max(0, timeline.value(name, row)))})`;
    }
    const trusted = timeline.value("tempoConfidence", row) >= this.pack.selection.minTempoConfidence;
    const bpm = timeline.value("tempoBpm", row);
    byId("tempo").textContent = trusted && bpm > 0 ? `${Math.round(bpm)} bpm` : "no steady beat";
    let since = 0;
    while (since < BEAT_FADE_S && row - since / timeline.rowS >= 0) {
      if (timeline.value("beat", Math.round(row - since / timeline.rowS)) > 0) break;
      since += timeline.rowS;
    }
    byId("beat").style.opacity = trusted ? String(Math.max(0.15, 1 - since / BEAT_FADE_S)) : "0.15";
  }

  /** The last two minutes: tiers as bands, loudness as a line, sections as strokes. */
  #drawHistory(timeline, row) {
    const { canvas } = this;
    const width = Math.round(canvas.clientWidth * devicePixelRatio);
    const height = Math.round(64 * devicePixelRatio);
    if (width === 0) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const rows = Math.round(HISTORY_S / timeline.rowS);
    const x = (at) => width - ((row - at) / rows) * width;
    const first = Math.max(0, row - rows);
    for (let from = first; from <= row;) {
      let to = from;
      while (to <= row && timeline.tiers[to] === timeline.tiers[from]) to += 1;
      context.fillStyle = this.colours[timeline.tiers[from]];
      context.globalAlpha = 0.4;
      context.fillRect(x(from), 0, x(to) - x(from), height);
      from = to;
    }
    context.globalAlpha = 1;
    context.strokeStyle = "#fff";
    context.lineWidth = 1.25 * devicePixelRatio;
    context.beginPath();
    const step = Math.max(1, Math.floor(rows / width));
    for (let at = first; at <= row; at += step) {
      context.lineTo(x(at), height - 3 - timeline.value("loudness", at) * (height - 6));
    }
    context.stroke();
    context.fillStyle = "#fff";
    for (let at = first; at <= row; at += 1) {
      if (timeline.value("section", at) > 0)
        context.fillRect(x(at) - devicePixelRatio, 0, 2 * devicePixelRatio, height);
    }
  }
}
