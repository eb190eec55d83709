// Which span of the track is seen: seconds to pixels and back, zoom and scroll within its ends.
const LEAST_SPAN_S = 4;

class View {
  constructor() {
    this.width = 1;
    this.gutter = 0;
    this.fit();
  }

  get whole() { return Math.max(facts.endS, LEAST_SPAN_S); }
  get span() { return this.to - this.from; }
  get plot() { return Math.max(1, this.width - this.gutter); }

  fit() { [this.from, this.to] = [0, this.whole]; }
  x(time) { return this.gutter + ((time - this.from) / this.span) * this.plot; }
  time(x) { return this.from + ((x - this.gutter) / this.plot) * this.span; }

  set(from, span) {
    const wide = Math.min(this.whole, Math.max(LEAST_SPAN_S, span));
    this.from = Math.min(Math.max(0, from), this.whole - wide);
    this.to = this.from + wide;
  }

  zoom(factor, around = (this.from + this.to) / 2) {
    const wide = Math.min(this.whole, Math.max(LEAST_SPAN_S, this.span / factor));
    this.set(around - ((around - this.from) / this.span) * wide, wide);
  }

  move(seconds) { this.set(this.from + seconds, this.span); }

  // Scrolls only when the span is not well in view.
  reveal(from, to) {
    const margin = Math.min(0.1 * this.span, 5);
    if (from < this.from + margin && from > 0) this.set(from - 0.25 * this.span, this.span);
    else if (to > this.to - margin && to < this.whole) this.set(Math.min(from - margin, to - 0.75 * this.span), this.span);
    else if (from < this.from) this.set(0, this.span);
    else if (to > this.to) this.set(this.whole, this.span);
  }
}
