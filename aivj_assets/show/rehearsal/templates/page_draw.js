// Drawing: lanes on one canvas, only what is in view. A pixel that holds many rows shows their extremes.
const TIERS = ["calm", "groove", "peak"];
const COLOURS = ["ink", "soft", "faint", "line", "field", "shade", "accent", "bad", "wave", "loud", "onset", "low", "mid", "high", ...TIERS];
const NICE_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const GUTTER_PX = 92, NARROW_PX = 620;

function readColours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// Heights are shares of the canvas, so that the lanes fill it.
function makeLanes(height) {
  const generated = facts.sections.length > 0;
  const lanes = [
    ["ruler", 20, ""], ["wave", 62, "waveform"], ["loudness", 44, "loudness"], ["bands", 38, "bands"], ["gap", 8, ""],
    ["heard", 18, "tier heard"], ...(generated ? [["made", 18, "true tier"]] : []), ["gap", 8, ""],
    ["selector", 18, "selector"], ["listOrder", 13, "next in list"], ["random", 13, "random"], ["gap", 6, ""], ["thumbs", 78, "on screen"],
  ];
  const total = lanes.reduce((sum, [, size]) => sum + size, 0);
  let top = 0;
  return lanes.map(([name, size, label]) => {
    const lane = { name, label, top, height: (size / total) * height };
    top += lane.height;
    return lane;
  });
}

class Painter {
  constructor(canvas, view, arrived) {
    [this.canvas, this.view, this.arrived] = [canvas, view, arrived];
    this.context = canvas.getContext("2d");
    this.colours = readColours();
  }

  size(canvas) {
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    }
    canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    return { width, height };
  }

  draw(state) {
    const { width, height } = this.size(this.canvas), view = this.view, c = this.context;
    view.width = width;
    view.gutter = width < NARROW_PX ? 0 : GUTTER_PX;
    c.fillStyle = this.colours.field;
    c.fillRect(0, 0, width, height);
    c.save();
    c.beginPath();
    c.rect(view.gutter, 0, width - view.gutter, height);
    c.clip();
    const lanes = makeLanes(height);
    this.chosen(state, lanes, height);
    for (const lane of lanes) this[lane.name]?.(lane, state);
    this.sectionsHeard(lanes);
    this.cursor(state, height);
    c.restore();
    this.labels(lanes);
  }

  labels(lanes) {
    const c = this.context, gutter = this.view.gutter;
    c.font = gutter ? "12px system-ui, sans-serif" : "10px system-ui, sans-serif";
    c.textAlign = gutter ? "right" : "left";
    c.textBaseline = "middle";
    for (const lane of lanes) {
      if (!lane.label) continue;
      if (gutter) {
        c.font = `${lane.height < 14 ? 11 : 12}px system-ui, sans-serif`;
        c.fillStyle = this.colours.soft;
        c.fillText(lane.label, gutter - 10, lane.top + lane.height / 2);
      } else if (lane.height > 24 && lane.name !== "thumbs") {
        c.fillStyle = this.colours.soft;
        c.fillText(lane.label, 4, lane.top + 8);
      }
    }
  }

  // Calls `each` with a pixel's x and the rows [from, to) that it shows.
  columns(each) {
    const view = this.view, first = Math.floor(view.gutter), last = Math.ceil(view.width);
    for (let x = first; x < last; x++) {
      const from = Math.round((view.time(x) - facts.firstS) / facts.rowS), to = Math.round((view.time(x + 1) - facts.firstS) / facts.rowS);
      if (from >= facts.rows || to < 0) continue;
      const begin = Math.max(0, Math.min(facts.rows - 1, from));
      each(x, begin, Math.max(begin + 1, Math.min(facts.rows, to)));
    }
  }

  ruler(lane) {
    const c = this.context, view = this.view, wanted = view.plot / 90;
    const step = NICE_S.find((size) => view.span / size <= wanted) ?? 7200;
    c.font = "11px system-ui, sans-serif";
    c.textAlign = "left";
    c.textBaseline = "middle";
    for (let t = Math.ceil(view.from / step) * step; t <= view.to; t += step) {
      const x = view.x(t);
      c.fillStyle = this.colours.line;
      c.fillRect(Math.round(x), 0, 1, this.canvas.clientHeight);
      c.fillStyle = this.colours.soft;
      c.fillText(clock(t, step < 1 ? 1 : 0), x + 4, lane.top + lane.height / 2);
    }
  }

  wave(lane) {
    const c = this.context, middle = lane.top + lane.height / 2, scale = (lane.height / 2 - 2) / 127;
    c.fillStyle = this.colours.wave;
    this.columns((x, from, to) => {
      let least = 127, most = -127;
      for (let i = from; i < to; i++) {
        if (ROW.least[i] < least) least = ROW.least[i];
        if (ROW.most[i] > most) most = ROW.most[i];
      }
      c.fillRect(x, middle - most * scale, 1, Math.max(1, (most - least) * scale));
    });
    if (this.view.span < 90) this.beats(lane);
  }

  beats(lane) {
    const c = this.context, view = this.view;
    for (let i = rowAt(view.from); i <= rowAt(view.to); i++) {
      const mark = ROW.marks[i];
      if (!(mark & BEAT)) continue;
      const high = mark & PHRASE ? 1 : mark & BAR ? 0.55 : 0.25;
      c.fillStyle = mark & BAR ? this.colours.ink : this.colours.faint;
      c.fillRect(view.x(timeOf(i)), lane.top + lane.height * (1 - high), mark & PHRASE ? 2 : 1, lane.height * high);
    }
  }

  line(lane, values, colour, pick) {
    const c = this.context;
    c.strokeStyle = colour;
    c.lineWidth = 1.2;
    c.beginPath();
    let begun = false;
    this.columns((x, from, to) => {
      const y = lane.top + lane.height - 2 - (pick(values, from, to) / 255) * (lane.height - 4);
      if (begun) c.lineTo(x, y); else c.moveTo(x, y);
      begun = true;
    });
    c.stroke();
  }

  loudness(lane) {
    const most = (values, from, to) => { let found = 0; for (let i = from; i < to; i++) if (values[i] > found) found = values[i]; return found; };
    const mean = (values, from, to) => { let sum = 0; for (let i = from; i < to; i++) sum += values[i]; return sum / (to - from); };
    this.context.globalAlpha = 0.55;
    this.line(lane, ROW.onset, this.colours.onset, most);
    this.context.globalAlpha = 1;
    this.line(lane, ROW.loudness, this.colours.loud, mean);
  }

  bands(lane) {
    const c = this.context, names = ["low", "mid", "high"], runs = names.map(() => []);
    this.columns((x, from, to) => {
      let y = lane.top + lane.height;
      names.forEach((name, i) => {
        let sum = 0;
        for (let row = from; row < to; row++) sum += ROW[name][row];
        const high = (sum / (to - from) / 255) * lane.height;
        runs[i].push(x, (y -= high), high);
      });
    });
    runs.forEach((run, i) => {
      c.fillStyle = this.colours[names[i]];
      for (let at = 0; at < run.length; at += 3) c.fillRect(run[at], run[at + 1], 1, run[at + 2]);
    });
  }

  // A tier has a height as well as a colour: calm a third, groove two thirds, peak all of the lane.
  block(lane, from, to, tier) {
    const high = (lane.height - 2) * ((tier + 1) / 3), c = this.context;
    c.fillStyle = this.colours[TIERS[tier]];
    const x = this.view.x(from);
    c.fillRect(x, lane.top + lane.height - 1 - high, Math.max(0.5, this.view.x(to) - x), high);
  }

  heard(lane) {
    const first = rowAt(this.view.from), last = rowAt(this.view.to);
    for (let i = first; i <= last;) {
      let end = i + 1;
      while (end <= last && tierOf(end) === tierOf(i)) end++;
      this.block(lane, timeOf(i), timeOf(end), tierOf(i));
      i = end;
    }
  }

  made(lane) { for (const [, from, to, tier] of facts.sections) if (to > this.view.from && from < this.view.to) this.block(lane, from, to, tier); }

  play(lane, name) {
    const list = facts.plays[name], view = this.view;
    for (let i = Math.max(0, lastAt(list, view.from, (one) => one[0])); i < list.length && list[i][0] < view.to; i++) {
      const [from, energy] = list[i], to = list[i + 1]?.[0] ?? facts.endS;
      this.block(lane, from, to - Math.min(0.15 * (to - from), (1.5 * view.span) / view.plot), energy);
    }
  }
  selector(lane) { this.play(lane, "selector"); }
  listOrder(lane) { this.play(lane, "listOrder"); }
  random(lane) { this.play(lane, "random"); }

  // Ticks for all picks; a picture where there is room beside the one before.
  thumbs(lane, state) {
    const c = this.context, view = this.view, high = lane.height - 14, wide = (high * 16) / 9;
    let free = -1e9;
    for (let i = Math.max(0, pickAt(view.from)); i < facts.picks.length && facts.picks[i].t <= view.to; i++) {
      const pick = facts.picks[i], x = view.x(pick.t), until = view.x(pick.until), kept = state.kept && state.at === i;
      c.fillStyle = pick.relaxed.length ? this.colours.bad : kept ? this.colours.ink : this.colours[TIERS[pick.energy]];
      c.fillRect(x, lane.top, kept ? 2 : 1.2, lane.height - 6);
      if (x < free && !kept) continue;
      const shown = sprite(pick.preset, this.arrived), room = kept ? wide : Math.min(wide, Math.max(until - x - 3, wide * 0.4));
      if (shown?.image.complete && shown.image.naturalWidth) {
        const left = Math.max(x + 2, Math.min(view.gutter + 2, until - room));
        c.drawImage(shown.image, shown.x, shown.y, (shown.width * room) / wide, shown.height, left, lane.top + 5, room, high);
        if (kept) { c.strokeStyle = this.colours.ink; c.lineWidth = 2; c.strokeRect(left, lane.top + 5, room, high); }
      }
      free = x + room + 5;
    }
    for (const [time] of facts.violations) {
      if (time < view.from || time > view.to) continue;
      const x = view.x(time);
      c.fillStyle = this.colours.bad;
      c.beginPath();
      c.moveTo(x - 5, lane.top + lane.height);
      c.lineTo(x + 5, lane.top + lane.height);
      c.lineTo(x, lane.top + lane.height - 9);
      c.fill();
    }
  }

  sectionsHeard(lanes) {
    const c = this.context, view = this.view, bottom = lanes.find((lane) => lane.name === "heard"), top = lanes[0].height;
    c.fillStyle = this.colours.ink;
    c.globalAlpha = view.span > 900 ? 0.45 : 1;
    for (let i = rowAt(view.from); i <= rowAt(view.to); i++) {
      if (!(ROW.marks[i] & SECTION)) continue;
      const x = Math.round(view.x(timeOf(i)));
      for (let y = top; y < bottom.top + bottom.height; y += 5) c.fillRect(x, y, 1.5, 2);
    }
    c.globalAlpha = 1;
  }

  chosen(state, lanes, height) {
    if (state.at < 0) return;
    const pick = facts.picks[state.at], x = this.view.x(pick.t), top = lanes[0].height;
    this.context.fillStyle = this.colours.shade;
    this.context.fillRect(x, top, Math.max(2, this.view.x(pick.until) - x), height - top);
  }

  cursor(state, height) {
    if (state.playing === null) return;
    this.context.fillStyle = this.colours.accent;
    this.context.fillRect(this.view.x(state.playing), 0, 2, height);
  }

  overview(canvas, state) {
    const { width, height } = this.size(canvas), c = canvas.getContext("2d"), view = this.view, left = view.gutter, plot = width - left;
    c.fillStyle = this.colours.field;
    c.fillRect(0, 0, width, height);
    const per = facts.rows / plot;
    for (let x = 0; x < plot; x++) {
      const from = Math.min(facts.rows - 1, Math.floor(x * per)), to = Math.max(from + 1, Math.min(facts.rows, Math.floor((x + 1) * per)));
      if (!facts.rows || x * per >= facts.rows) break;
      let sum = 0, most = 0;
      for (let i = from; i < to; i++) { sum += ROW.loudness[i]; if (tierOf(i) > most) most = tierOf(i); }
      const high = 3 + (sum / (to - from) / 255) * (height - 10);
      c.fillStyle = this.colours[TIERS[most]];
      c.fillRect(left + x, height - 3 - high, 1, high);
    }
    const from = left + (view.from / view.whole) * plot, to = left + (view.to / view.whole) * plot;
    c.globalAlpha = 0.62;
    c.fillStyle = this.colours.field;
    c.fillRect(left, 0, from - left, height);
    c.fillRect(to, 0, width - to, height);
    c.globalAlpha = 1;
    c.strokeStyle = this.colours.ink;
    c.lineWidth = 1.5;
    c.strokeRect(from + 0.75, 0.75, Math.max(3, to - from - 1.5), height - 1.5);
    for (const [time] of facts.violations) { c.fillStyle = this.colours.bad; c.fillRect(left + (time / view.whole) * plot - 1, 0, 2, 6); }
    if (state.at >= 0) { c.fillStyle = this.colours.ink; c.fillRect(left + (facts.picks[state.at].t / view.whole) * plot - 1, 0, 2, height); }
  }
}
