// What is heard of a track: rows that come in part by part while the server makes them.

/** Calls `onPart` for each line of an NDJSON answer, as it comes. */
export async function readParts(response, onPart) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += value ?? "";
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.trim()) onPart(JSON.parse(line));
    if (done) return;
  }
}

/** A track's rows as columns; `windowFeatures` and `events` are the contract's names. */
export class Timeline {
  constructor({ rowS, windowFeatures, events }) {
    this.rowS = rowS;
    this.windowFeatures = windowFeatures;
    this.events = events;
    this.columns = {};
    this.tiers = [];
    this.done = false;
  }

  append({ columns, tiers }) {
    for (const [name, values] of Object.entries(columns)) {
      this.columns[name] ??= [];
      for (const value of values) this.columns[name].push(value);
    }
    for (const tier of tiers) this.tiers.push(tier);
  }

  get count() {
    return this.tiers.length;
  }

  timeOf(row) {
    return this.columns.timeS[row];
  }

  /** Whether the server has come as far as `timeS`. */
  isKnownAt(timeS) {
    return this.done || (this.count > 0 && this.timeOf(this.count - 1) >= timeS);
  }

  /** The last row that is over at `timeS`; -1 before the first. Rows are `rowS` apart. */
  rowAt(timeS) {
    if (!this.count) return -1;
    let row = Math.min(this.count - 1, Math.max(-1, Math.floor((timeS - this.timeOf(0)) / this.rowS)));
    while (row + 1 < this.count && this.timeOf(row + 1) <= timeS) row += 1;
    while (row >= 0 && this.timeOf(row) > timeS) row -= 1;
    return row;
  }

  value(name, row) {
    return this.columns[name]?.[row] ?? 0;
  }

  /** What the selector hears of a row, as `AudioTimeline.observation` gives it. */
  observation(row) {
    const heard = {
      timeS: this.timeOf(row),
      tier: this.tiers[row],
      tempoConfidence: this.value("tempoConfidence", row),
    };
    for (const name of this.events) heard[name] = this.value(name, row) > 0;
    heard.features = {};
    for (const name of this.windowFeatures) heard.features[name] = this.value(name, row);
    return heard;
  }
}
