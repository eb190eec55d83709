// Going from cluster to cluster and from picture to picture; keys; what happens at the start.

let current = data.clusters[0].id;
const help = $("help");

function mark(id) {
  sections.get(current)?.removeAttribute("aria-current");
  chips.get(current)?.firstElementChild.removeAttribute("aria-current");
  current = id;
  sections.get(id).setAttribute("aria-current", "true");
  const chip = chips.get(id).firstElementChild;
  chip.setAttribute("aria-current", "true");
  const list = $("chips");
  const place = chips.get(id);
  if (place.offsetTop < list.scrollTop || place.offsetTop + place.offsetHeight > list.scrollTop + list.clientHeight)
    list.scrollTop = place.offsetTop - list.clientHeight / 2;
}

function go(id) {
  const section = sections.get(id);
  if (!section) return;
  stopAll();
  mark(id);
  section.scrollIntoView({ block: "start" });
  section.focus({ preventScroll: true });
  try {
    history.replaceState(null, "", `#${id}`);
  } catch {
    // Some browsers refuse it for files: the address then stays as it is.
  }
}

function step(by) {
  const shown = visible();
  const here = shown.findIndex((section) => section.id === current);
  const next = shown[here + by];
  if (next) go(next.id);
  else say(by > 0 ? "That was the last cluster." : "This is the first cluster.");
}

function nextUnjudged() {
  const shown = visible();
  const here = shown.findIndex((section) => section.id === current);
  const next = [...shown.slice(here + 1), ...shown.slice(0, here + 1)].find((section) => !said(section.id).verdict);
  if (next) go(next.id);
  else say("Every cluster shown is reviewed.");
}

function stepTile(by) {
  const tiles = tilesOf(sections.get(current)).filter((tile) => !tile.hidden);
  const here = tiles.indexOf(document.activeElement.closest(".tile"));
  const next = tiles[here < 0 ? (by > 0 ? 0 : tiles.length - 1) : here + by];
  if (!next) return;
  for (const tile of tiles) tile.tabIndex = tile === next ? 0 : -1;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function openHelp() {
  help.showModal();
  $("help-close").focus();
}

function judgeByKey(verdict) {
  judge(current, verdict);
  if (verdict && $("advance").checked) {
    const shown = visible();
    const next = shown[shown.findIndex((section) => section.id === current) + 1];
    if (next) go(next.id);
  }
}

const KEYS = {
  j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  l: () => stepTile(1), ArrowRight: () => stepTile(1), h: () => stepTile(-1), ArrowLeft: () => stepTile(-1),
  g: () => judgeByKey("good"), m: () => judgeByKey("mixed"), b: () => judgeByKey("bad"), u: () => judgeByKey(null),
  r: () => rename(current), n: () => note(current), t: nextUnjudged, " ": toggleMotion,
  e: exportFile, i: () => $("file").click(),
  "/": () => $("f-text").focus(), "?": openHelp,
  d: () => likes && (likes.scrollIntoView({ block: "start" }), stepLikes(0)),
};

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (help.open) {
    if (key === "?" && !target.matches("input")) help.close();
    return;
  }
  if (target.matches("input:not([type=checkbox]), select, textarea")) {
    if (key !== "Escape") return;
    if (target.id === "f-text" && target.value) clearFilter();
    go(current);
    return;
  }
  const onControl = target.matches("button, a, input, summary");
  if (onControl && [" ", "Enter"].includes(key)) return;
  const letter = key.length === 1 ? key.toLowerCase() : key;
  if (likes?.contains(target) && likesKey(letter)) event.preventDefault();
  else if (Object.hasOwn(KEYS, letter) && !(likes?.contains(target) && "gmburnhl".includes(letter))) {
    event.preventDefault();
    KEYS[letter]();
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-act]");
  const link = event.target.closest("a[href^='#c']");
  const section = event.target.closest("section.cluster");
  if (section && !link) mark(section.id);
  if (link && sections.has(link.hash.slice(1))) {
    event.preventDefault();
    if (sections.get(link.hash.slice(1)).hidden) clearFilter();
    go(link.hash.slice(1));
  } else if (button?.dataset.act === "keep") {
    const group = button.closest(".group");
    keepOne(group, [...group.querySelectorAll(".like")].indexOf(button.closest(".like")));
  } else if (button?.dataset.act === "blacklist") blacklist(button.closest(".like"));
  else if (button?.dataset.act === "rename") rename(section.id);
  else if (button?.dataset.act === "note") note(section.id);
  else if (button) judge(section.id, button.getAttribute("aria-pressed") === "true" ? null : button.dataset.act);
});

document.addEventListener("focusin", (event) => {
  const section = event.target.closest?.("section.cluster");
  if (section && section.id !== current) mark(section.id);
});

// Whoever scrolls by hand judges what stands on top.
let settling = 0;
function settle() {
  clearTimeout(settling);
  settling = setTimeout(() => {
    const below = $("bench").getBoundingClientRect().bottom + 60;
    const section = document.elementFromPoint(innerWidth / 2, below)?.closest("section.cluster");
    if (section && section.id !== current) mark(section.id);
  }, 120);
}
for (const name of ["wheel", "touchmove"]) addEventListener(name, settle, { passive: true });
addEventListener("keydown", (event) => ["PageDown", "PageUp", "Home", "End"].includes(event.key) && settle());

for (const id of ["f-text", "f-energy", "f-verdict", "f-size"]) $(id).addEventListener("input", filterChanged);
$("f-text").addEventListener("keydown", (event) => event.key === "Enter" && visible().length && go(current));
$("f-sort").addEventListener("change", () => (applyOrder(), go(visible()[0]?.id ?? current), $("f-sort").focus()));
$("clear").addEventListener("click", clearFilter);
$("load").addEventListener("click", () => $("file").click());
$("export").addEventListener("click", exportFile);
$("help-open").addEventListener("click", openHelp);
for (const id of ["advance", "reviewer"])
  $(id).addEventListener("change", () =>
    write(PREFERENCES, { advance: $("advance").checked, reviewer: tidy($("reviewer").value, MOST_LABEL) }));
addEventListener("storage", (event) => event.key === PLACE && (restore(), paintAll()));
addEventListener("beforeunload", (event) => !kept && !exported && event.preventDefault());
addEventListener("hashchange", () => sections.has(location.hash.slice(1)) && go(location.hash.slice(1)));
new ResizeObserver(() =>
  document.documentElement.style.setProperty("--bench", `${$("bench").offsetHeight}px`)).observe($("bench"));

document.documentElement.classList.add("live");
restore();
kept = write(`${PLACE}:try`, 1);
if (kept) localStorage.removeItem(`${PLACE}:try`);
$("unkept").hidden = kept;
const preferences = read(PREFERENCES) ?? {};
$("advance").checked = preferences.advance === true;
$("reviewer").value = text(preferences.reviewer);
paintAll();
paintSteps();
mark(sections.has(location.hash.slice(1)) ? location.hash.slice(1) : current);
