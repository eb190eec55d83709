// Putting it together: pointer, keyboard, search.
const STEP_PX = 60, REACH_PX = 14, HITS = 60;
const state = { at: -1, kept: false, chosen: [], mode: "move", cross: false, drag: null, pointers: new Map() };

async function start() {
  const began = performance.now();
  if (!globalThis.DecompressionStream) return problem("This browser is too old for the map: use a current Chrome, Edge, Firefox or Safari. The clusters stand in the table below.");
  const points = await readPoints();
  const canvas = byId("map"), field = byId("field"), view = new View(points), shown = makeShown(points);
  const isShown = (i) => shown.every((list, kind) => list[points.classes[kind][i]].on);
  let painter = null, waiting = false, kind = 0;
  try {
    painter = new Painter(canvas, points);
  } catch {
    problem("WebGL 2 is not available, so that no map can be drawn: switch on hardware acceleration or use another browser. Search works, and the clusters stand in the table below.");
    canvas.hidden = true;
  }

  function draw() {
    waiting = false;
    painter?.draw(view);
    const showing = !byId("card").hidden && state.at >= 0;
    if (showing) placeCard(view, state.at, field);
  }
  function redraw() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  function show(i, kept = false) {
    [state.at, state.kept] = [i, kept && i >= 0];
    byId("card").hidden = byId("spot").hidden = i < 0;
    byId("card").classList.toggle("kept", state.kept);
    if (i >= 0) { fillCard(points, i); placeCard(view, i, field); }
  }

  function mark(numbers) { painter?.setMarks(numbers); redraw(); }

  function choose(numbers) {
    state.chosen = numbers;
    fillChosen(points, shown, numbers);
    mark(numbers);
  }

  function classesChanged(refill = false) {
    painter?.setClasses(shown);
    if (refill) fillLegend(shown, kind, classesChanged);
    if (state.at >= 0 && !isShown(state.at)) show(-1);
    let visible = 0;
    for (let i = 0; i < points.n; i++) visible += isShown(i);
    byId("shown").textContent = visible === points.n ? "" : `${count(visible)} of ${count(points.n)} shown`;
    redraw();
  }

  function colourBy(value) {
    kind = value;
    if (painter) painter.colourBy = value;
    fillLegend(shown, kind, classesChanged);
    redraw();
  }

  function switchAll(on) { shown[kind].forEach((one) => { one.on = on; }); classesChanged(true); }

  // The card follows the cross in the middle while the map is moved by keys.
  function follow() {
    state.cross = true;
    byId("cross").hidden = false;
    show(view.nearest(view.width / 2, view.height / 2, 60, isShown));
    redraw();
  }

  function search() {
    const query = byId("query").value, found = searchNames(query), loading = names.parts < facts.nameFiles.length;
    byId("found").textContent = !query.trim() ? "" : `${count(found.length)} found${loading ? ", names are still loading" : ""}${found.length > HITS ? `, the first ${HITS} below` : ""}`;
    byId("hits").replaceChildren(...found.slice(0, HITS).map((i) => {
      const line = element("li"), button = element("button"), author = names.authors[i];
      button.type = "button";
      button.append(element("bdi", "", author ? `${author} - ${names.titles[i]}` : names.titles[i]));
      button.title = names.ids[i];
      button.addEventListener("click", () => { view.lookAt(i); show(i, true); redraw(); });
      line.append(button);
      return line;
    }));
    mark(query.trim() ? found : state.chosen);
  }

  const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const outline = byId("outline").firstElementChild;
  const polygon = ({ mode, path }) => {
    if (mode !== "box") return path;
    const [[x0, y0], [x1, y1]] = [path[0], path.at(-1)];
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const at = place(event);
    canvas.setPointerCapture(event.pointerId);
    state.pointers.set(event.pointerId, at);
    const mode = event.shiftKey && state.mode === "move" ? "lasso" : state.mode;
    state.drag = state.pointers.size > 1 ? null : { mode, path: [at], last: at, far: false };
    [state.cross, byId("cross").hidden] = [false, true];
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = place(event), drag = state.drag;
    if (state.pointers.size > 1 && state.pointers.has(event.pointerId)) return pinch(event.pointerId, at);
    if (!drag) {
      if (!state.kept && !state.pointers.size) show(view.nearest(...at, REACH_PX, isShown));
      canvas.style.cursor = state.at >= 0 && !state.kept ? "pointer" : "";
      return;
    }
    drag.far ||= Math.hypot(at[0] - drag.path[0][0], at[1] - drag.path[0][1]) > 4;
    if (!drag.far) return;
    if (drag.mode === "move") {
      view.pan(at[0] - drag.last[0], at[1] - drag.last[1]);
      redraw();
    } else {
      drag.path.push(at);
      outline.setAttribute("points", polygon(drag).map((point) => point.join(",")).join(" "));
    }
    drag.last = at;
  });
  function pinch(id, at) {
    const before = [...state.pointers.values()];
    state.pointers.set(id, at);
    const after = [...state.pointers.values()];
    const span = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1, middle = ([a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const [was, is] = [middle(before), middle(after)];
    view.pan(is[0] - was[0], is[1] - was[1]);
    view.zoom(span(after) / span(before), ...is);
    redraw();
  }
  function release(event) {
    const drag = state.drag;
    state.pointers.delete(event.pointerId);
    state.drag = null;
    outline.removeAttribute("points");
    if (!drag || event.type === "pointercancel") return;
    if (drag.far && drag.mode !== "move") return choose(view.inside(polygon(drag), isShown));
    if (!drag.far) {
      const i = view.nearest(...drag.path[0], REACH_PX, isShown);
      show(i, true);
    }
  }
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { if (!state.kept && !state.cross) show(-1); });
  canvas.addEventListener("dblclick", () => { if (state.at >= 0) location.href = pageOf(points, state.at).href; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    view.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), ...place(event));
    redraw();
  }, { passive: false });

  const keys = {
    ArrowLeft: () => view.pan(STEP_PX, 0), ArrowRight: () => view.pan(-STEP_PX, 0),
    ArrowUp: () => view.pan(0, STEP_PX), ArrowDown: () => view.pan(0, -STEP_PX),
    "+": () => view.zoom(1.4), "=": () => view.zoom(1.4), "-": () => view.zoom(1 / 1.4), 0: () => view.fit(),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (keys[event.key]) { keys[event.key](); follow(); }
    else if (event.key === "Enter" && state.at >= 0) location.href = pageOf(points, state.at).href;
    else if (event.key === " " && state.at >= 0) {
      choose(state.chosen.includes(state.at) ? state.chosen.filter((i) => i !== state.at) : [...state.chosen, state.at]);
    } else if (event.key.toLowerCase() === "v") {
      choose(view.inside([[0, 0], [view.width, 0], [view.width, view.height], [0, view.height]], isShown));
    } else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target !== byId("query")) { byId("query").focus(); event.preventDefault(); }
    if (event.key === "Escape") { byId("query").value = ""; search(); choose([]); show(-1); byId("cross").hidden = true; }
  });

  let typing = 0;
  byId("query").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 120); });
  byId("search").addEventListener("submit", (event) => { event.preventDefault(); search(); byId("hits").querySelector("button")?.click(); });
  byId("colours").addEventListener("change", (event) => colourBy(Number(event.target.value)));
  byId("modes").addEventListener("change", (event) => { state.mode = event.target.value; canvas.classList.toggle("choosing", state.mode !== "move"); });
  byId("show-all").addEventListener("click", () => switchAll(true));
  byId("show-none").addEventListener("click", () => switchAll(false));
  byId("zoom-in").addEventListener("click", () => { view.zoom(1.6); redraw(); });
  byId("zoom-out").addEventListener("click", () => { view.zoom(1 / 1.6); redraw(); });
  byId("fit").addEventListener("click", () => { view.fit(); redraw(); });
  byId("clear").addEventListener("click", () => choose([]));
  byId("copy").addEventListener("click", () => copyIds(state.chosen));

  new ResizeObserver(() => {
    const fresh = view.scale === view.whole || view.width === 1;
    view.resize(field.clientWidth, field.clientHeight);
    if (fresh) view.fit();
    redraw();
  }).observe(field);
  view.resize(field.clientWidth, field.clientHeight);
  view.fit();
  if (painter) painter.restored = redraw;
  classesChanged();
  colourBy(0);
  draw();
  // For measuring and for tests: what is looked at.
  canvas.dataset.state = painter ? "drawn" : "none";
  globalThis.aivjMap = { firstDrawMs: performance.now() - began, points, view, painter, names, state, draw };
  names.changed = () => {
    const done = names.parts === facts.nameFiles.length;
    if (done || byId("query").value.trim()) search();
    if (state.at >= 0) fillCard(points, state.at);
    if (done) canvas.dataset.names = "ready";
  };
  // Names come after the picture.
  setTimeout(readNames, 0);
  const wanted = facts.clusters.findIndex(({ id }) => `#${id}` === location.hash);
  if (wanted >= 0) { shown[0].forEach((one, i) => { one.on = i === wanted; }); classesChanged(true); }
}

start().catch((error) => problem(`The map cannot be drawn: ${error.message}`));
