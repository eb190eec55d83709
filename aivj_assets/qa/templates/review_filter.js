// Filters and order of clusters and pictures.

const tilesOf = (section) => [...section.querySelectorAll(".tile")];
const words = new Map();

function wordsOf(tile) {
  if (!words.has(tile)) {
    const shown = [...tile.querySelectorAll(".title, .author")].map((one) => one.textContent);
    words.set(tile, [...shown, tile.dataset.id].join(" ").toLowerCase());
  }
  return words.get(tile);
}

function fitsVerdict(id, wanted) {
  const { verdict, note, again } = said(id);
  if (wanted === "todo") return !verdict;
  if (wanted === "again") return again !== null;
  if (wanted === "noted") return note !== null;
  return !wanted || verdict === wanted;
}

function applyFilter() {
  const sought = $("f-text").value.trim().toLowerCase();
  const energy = $("f-energy").value;
  const least = Number($("f-size").value) || 0;
  let shown = 0;
  for (const [id, section] of sections) {
    const { size, mix } = facts.get(id);
    const fits = size >= least && (!energy || mix[energy] > 0) && fitsVerdict(id, $("f-verdict").value);
    const named = !sought || nameOf(id).toLowerCase().includes(sought);
    let pictures = 0;
    for (const tile of tilesOf(section)) {
      tile.hidden = !(named || wordsOf(tile).includes(sought)) || Boolean(energy && tile.dataset.energy !== energy);
      pictures += tile.hidden ? 0 : 1;
    }
    section.hidden = !fits || !(pictures || (named && !energy));
    chips.get(id).hidden = section.hidden;
    shown += section.hidden ? 0 : 1;
  }
  $("none").hidden = shown > 0;
  document.documentElement.classList.toggle("filtered", shown < sections.size);
  paintSteps();
  return shown;
}

function filterChanged() {
  const shown = applyFilter();
  if (shown && sections.get(current)?.hidden !== false) mark(visible()[0].id);
  say(`${shown} of ${sections.size} clusters shown.`);
}

function clearFilter() {
  for (const id of ["f-text", "f-energy", "f-verdict", "f-size"]) $(id).value = "";
  filterChanged();
}

const ORDERS = {
  id: () => 0,
  size: (one) => -one.size,
  cohesion: (one) => one.cohesion ?? 2,
  verdict: (one) => ["bad", "mixed", "good", null].indexOf(said(one.id).verdict),
  changed: (one) => (said(one.id).again ? -Infinity : -one.changed),
};

function applyOrder() {
  const order = ORDERS[$("f-sort").value] ?? ORDERS.id;
  const ranked = data.clusters.map((one, place) => ({ id: one.id, rank: order(one), place }));
  ranked.sort((one, other) => (one.rank === other.rank ? one.place - other.place : one.rank - other.rank));
  const main = $("clusters");
  for (const { id } of ranked) {
    main.insertBefore(sections.get(id), $("none"));
    $("chips").append(chips.get(id));
  }
  paintSteps();
}

const visible = () => [...document.querySelectorAll("section.cluster:not([hidden])")];

function paintSteps() {
  const shown = visible();
  shown.forEach((section, place) => {
    const steps = section.querySelector(".steps");
    steps.replaceChildren();
    for (const [other, name, arrow] of [[shown[place - 1], "Previous", "\u2191"], [shown[place + 1], "Next", "\u2193"]]) {
      if (!other) continue;
      const link = document.createElement("a");
      link.href = `#${other.id}`;
      link.setAttribute("aria-label", `${name} cluster, ${other.id}`);
      link.textContent = arrow;
      steps.append(link);
    }
  });
}
