// Where one looks: centre and scale (CSS pixels a map's side), and which preset lies where.
const CELLS = 256;

class View {
  constructor(points) {
    this.points = points;
    this.ratio = Math.min(globalThis.devicePixelRatio || 1, 2);
    this.index();
    this.resize(1, 1);
    this.fit();
  }

  // A grid with the presets of each cell: what is near is found without looking at all.
  index() {
    const { n, xy } = this.points;
    this.starts = new Uint32Array(CELLS * CELLS + 1);
    this.items = new Uint32Array(n);
    const low = [65535, 65535], high = [0, 0];
    for (let i = 0; i < 2 * n; i++) {
      low[i % 2] = Math.min(low[i % 2], xy[i]);
      high[i % 2] = Math.max(high[i % 2], xy[i]);
    }
    this.middle = [0, 1].map((a) => (low[a] + high[a]) / 2 / 65535);
    this.span = [0, 1].map((a) => Math.max(0.05, (high[a] - low[a]) / 65535));
    const cell = (i) => (xy[2 * i + 1] >> 8) * CELLS + (xy[2 * i] >> 8);
    for (let i = 0; i < n; i++) this.starts[cell(i) + 1]++;
    for (let c = 0; c < CELLS * CELLS; c++) this.starts[c + 1] += this.starts[c];
    const next = this.starts.slice(0, -1);
    for (let i = 0; i < n; i++) this.items[next[cell(i)]++] = i;
  }

  resize(width, height) {
    [this.width, this.height] = [Math.max(1, width), Math.max(1, height)];
    this.whole = 0.92 * Math.min(this.width / this.span[0], this.height / this.span[1]);
  }

  fit() { [this.x, this.y, this.scale] = [...this.middle, this.whole]; }

  get pointSize() {
    const base = Math.min(9, Math.max(1.6, (0.45 * this.whole * Math.sqrt(this.span[0] * this.span[1])) / Math.sqrt(this.points.n)));
    return Math.min(16, base * (this.scale / this.whole) ** 0.45);
  }

  toMap(px, py) { return [this.x + (px - this.width / 2) / this.scale, this.y - (py - this.height / 2) / this.scale]; }

  ofPreset(i) {
    const x = this.points.xy[2 * i] / 65535, y = this.points.xy[2 * i + 1] / 65535;
    return [this.width / 2 + (x - this.x) * this.scale, this.height / 2 - (y - this.y) * this.scale];
  }

  pan(dx, dy) {
    this.x = Math.min(1.2, Math.max(-0.2, this.x - dx / this.scale));
    this.y = Math.min(1.2, Math.max(-0.2, this.y + dy / this.scale));
  }

  zoom(factor, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.toMap(px, py);
    this.scale = Math.min(this.whole * 400, Math.max(this.whole * 0.5, this.scale * factor));
    this.x = x - (px - this.width / 2) / this.scale;
    this.y = y + (py - this.height / 2) / this.scale;
  }

  lookAt(i, scale = Math.max(this.scale, this.whole * 6)) {
    [this.x, this.y, this.scale] = [this.points.xy[2 * i] / 65535, this.points.xy[2 * i + 1] / 65535, scale];
  }

  // Calls `each(number)` for the presets of all cells that a box of the map (0..1) touches.
  inBox(x0, y0, x1, y1, each) {
    const to = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor((value * 65535) / 256)));
    for (let row = to(y0); row <= to(y1); row++) {
      for (let at = this.starts[row * CELLS + to(x0)]; at < this.starts[row * CELLS + to(x1) + 1]; at++) each(this.items[at]);
    }
  }

  nearest(px, py, reach, isShown) {
    const [x, y] = this.toMap(px, py), r = reach / this.scale;
    let best = -1, least = r * r;
    this.inBox(x - r, y - r, x + r, y + r, (i) => {
      const away = (this.points.xy[2 * i] / 65535 - x) ** 2 + (this.points.xy[2 * i + 1] / 65535 - y) ** 2;
      if (away <= least && isShown(i)) [best, least] = [i, away];
    });
    return best;
  }

  // Numbers of the presets inside a polygon of pixels.
  inside(polygon, isShown) {
    const corners = polygon.map(([px, py]) => this.toMap(px, py));
    const xs = corners.map(([x]) => x), ys = corners.map(([, y]) => y), found = [];
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    this.inBox(x0, y0, x1, y1, (i) => {
      const x = this.points.xy[2 * i] / 65535, y = this.points.xy[2 * i + 1] / 65535;
      if (x < x0 || x > x1 || y < y0 || y > y1 || !isShown(i)) return;
      let within = false;
      for (let a = 0, b = corners.length - 1; a < corners.length; b = a++) {
        if ((ys[a] > y) !== (ys[b] > y) && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) within = !within;
      }
      if (within) found.push(i);
    });
    return found;
  }
}
