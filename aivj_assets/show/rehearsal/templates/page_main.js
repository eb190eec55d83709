// Putting it together: pointer, keyboard, sound.
const ZOOM = 1.6, CLICK_PX = 4;
const state = { at: -1, kept: false, playing: null, drag: null, violation: -1 };

async function start() {
  if (!globalThis.DecompressionStream) return problem("This browser is too old for the timeline: use a current Chrome, Edge, Firefox or Safari. The figures stand below.");
  await readAll();
  const canvas = byId("timeline"), small = byId("overview"), view = new View(), painter = new Painter(canvas, view, arrived);
  let waiting = false;

  function draw() {
    waiting = false;
    painter.draw(state);
    painter.overview(small, state);
    byId("span").textContent = `${clock(view.from)} – ${clock(view.to)}`;
  }
  function redraw() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }
  function arrived() {
    if (state.at >= 0) showThumb(facts.picks[state.at], arrived);
    redraw();
  }

  function show(number, kept = false) {
    const changed = number !== state.at;
    [state.at, state.kept] = [number, kept && number >= 0];
    if (number >= 0 && changed) fillDetail(facts.picks[number], arrived);
    redraw();
  }
  function go(number) {
    if (number < 0 || number >= facts.picks.length) return;
    view.reveal(facts.picks[number].t, facts.picks[number].until);
    show(number, true);
  }
  function goTo(time) {
    view.set(time - 0.5 * view.span, Math.min(view.span, 120));
    view.reveal(time, time);
    show(pickAt(time), true);
  }
  function nextViolation() {
    if (!facts.violations.length) return;
    state.violation = (state.violation + 1) % facts.violations.length;
    goTo(facts.violations[state.violation][0]);
  }
  function zoom(factor, around) { view.zoom(factor, around); redraw(); }
  // By key and button the zoom is around the pick that is kept, where it is in view, else around the middle.
  function zoomHere(factor) {
    const time = state.kept ? facts.picks[state.at].t : NaN;
    zoom(factor, time >= view.from && time <= view.to ? time : undefined);
  }
  const actions = {
    ArrowLeft: (shift) => (shift ? (view.move(-0.2 * view.span), redraw()) : go(state.at - 1)),
    ArrowRight: (shift) => (shift ? (view.move(0.2 * view.span), redraw()) : go(state.at + 1)),
    "+": () => zoomHere(ZOOM), "=": () => zoomHere(ZOOM), "-": () => zoomHere(1 / ZOOM),
    0: () => { view.fit(); redraw(); }, Home: () => go(0), End: () => go(facts.picks.length - 1),
    v: nextViolation, V: nextViolation, Escape: () => show(state.at),
  };

  canvas.addEventListener("keydown", (event) => {
    const act = actions[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(event.shiftKey);
  });
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.0025), view.time(event.offsetX));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      event.preventDefault();
      view.move(((event.deltaX || event.deltaY) / view.plot) * view.span);
      redraw();
    }
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    state.drag = { x: event.clientX, from: view.from, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (state.drag) {
      const moved = event.clientX - state.drag.x;
      state.drag.moved ||= Math.abs(moved) > CLICK_PX;
      canvas.classList.toggle("dragged", state.drag.moved);
      if (state.drag.moved) { view.set(state.drag.from - (moved / view.plot) * view.span, view.span); redraw(); }
    } else if (!state.kept && event.pointerType === "mouse") {
      const time = view.time(event.offsetX);
      if (event.offsetX >= view.gutter && time <= facts.endS && facts.picks.length) show(Math.max(0, pickAt(time)));
    }
  });
  const letGo = (event) => {
    const drag = state.drag;
    state.drag = null;
    canvas.classList.remove("dragged");
    if (!drag || drag.moved || event.type !== "pointerup" || event.offsetX < view.gutter) return;
    const time = view.time(event.offsetX);
    if (byId("audio").src) byId("audio").currentTime = Math.max(0, time);
    show(pickAt(time), true);
  };
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, letGo);

  const lookAt = (event) => { view.set(((event.offsetX - view.gutter) / view.plot) * view.whole - view.span / 2, view.span); redraw(); };
  small.addEventListener("pointerdown", (event) => { small.setPointerCapture(event.pointerId); lookAt(event); });
  small.addEventListener("pointermove", (event) => { if (event.buttons) lookAt(event); });

  byId("zoom-in").addEventListener("click", () => zoomHere(ZOOM));
  byId("zoom-out").addEventListener("click", () => zoomHere(1 / ZOOM));
  byId("fit").addEventListener("click", () => { view.fit(); redraw(); });
  byId("before").addEventListener("click", () => actions.ArrowLeft(false));
  byId("after").addEventListener("click", () => actions.ArrowRight(false));
  for (const button of document.querySelectorAll("button.go")) {
    button.addEventListener("click", () => { goTo(Number(button.dataset.time)); canvas.scrollIntoView({ block: "center" }); canvas.focus({ preventScroll: true }); });
  }
  listenAlong(view, redraw, show);

  addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => { painter.colours = readColours(); redraw(); });
  if (facts.picks.length) show(0);
  byId("detail").hidden = !facts.picks.length;
  draw();
  canvas.dataset.ready = "yes";
  globalThis.aivjRehearsal = { view, state, facts, draw };
}

// The page has no sound of its own: whoever looks at it may choose the track's file, which stays on the machine.
function listenAlong(view, redraw, show) {
  const audio = byId("audio");
  byId("file").addEventListener("change", (event) => {
    const file = event.target.files[0];
    if (!file) return;
    if (audio.src) URL.revokeObjectURL(audio.src);
    audio.src = URL.createObjectURL(file);
    audio.hidden = false;
  });
  function follow() {
    state.playing = audio.currentTime;
    if (state.playing > view.to || state.playing < view.from) view.set(state.playing - 0.1 * view.span, view.span);
    show(pickAt(state.playing), true);
    if (!audio.paused) requestAnimationFrame(follow); else redraw();
  }
  for (const kind of ["play", "seeked"]) audio.addEventListener(kind, follow);
}

start().catch((error) => problem(`The timeline cannot be shown: ${error.message}`));
