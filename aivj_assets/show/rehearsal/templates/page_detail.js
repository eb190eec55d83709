// The words about one pick: what, when, why now, why this one, and what else could have been.
function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

const percent = (share) => (share >= 0.0995 ? `${(100 * share).toFixed(0)} %` : `${(100 * share).toFixed(share < 0.001 ? 2 : 1)} %`);
const clusterName = (id) => (facts.clusters[id] && facts.clusters[id] !== id ? `${id} ${facts.clusters[id]}` : id);

function choiceWords(pick) {
  const energy = facts.energies[pick.energy], one = pick.count === 1;
  const from = one ? "the only preset that could be shown" : `drawn with ${percent(pick.p)} from ${pick.count.toLocaleString("en-US")}${pick.favourite ? " favourites" : ""} that could be shown`;
  const fits = pick.energy === pick.tier ? `its energy, ${energy}, is what the music asked for` : `its energy is ${energy}, the music asked for ${facts.energies[pick.tier]}`;
  return `${from}; ${fits}.`;
}

function fillDetail(pick, arrived) {
  const [id, author, title] = facts.presets[pick.preset], dwell = pick.until - pick.t;
  byId("d-when").textContent = `Pick ${pick.number + 1} of ${facts.picks.length} · ${clock(pick.t, 1)} – ${clock(pick.until, 1)} · ${dwell.toFixed(1)} s on screen`;
  byId("d-title").textContent = title;
  byId("d-title").title = id;
  byId("d-author").textContent = author;
  const reason = facts.reasons[pick.reason] ?? pick.reason;
  byId("d-reason").textContent = `${reason}.`;
  byId("d-choice").textContent = choiceWords(pick);
  byId("d-relaxed").hidden = !pick.relaxed.length;
  byId("d-relaxed").textContent = `Nothing was left, so that ${pick.relaxed.map((rule) => facts.relaxed[rule] ?? rule).join(", then ")} gave way.`;
  byId("d-cluster").textContent = `${clusterName(pick.cluster)} · ${facts.energies[pick.energy]}`;
  byId("d-features").replaceChildren(...facts.features.map((name, i) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", pick.features[i].toFixed(name === "tempoBpm" ? 1 : 3)));
    return pair;
  }));
  // The one that was drawn need not be among the likeliest.
  const listed = pick.candidates.some(([preset]) => preset === pick.preset) ? pick.candidates : [...pick.candidates, [pick.preset, pick.cluster, pick.p]];
  byId("d-candidates").replaceChildren(...listed.map(([preset, cluster, share]) => {
    const line = element("li", "", preset === pick.preset ? "picked" : ""), [name, by, words] = facts.presets[preset];
    line.style.setProperty("--share", `${(100 * share) / Math.max(1e-9, pick.candidates[0][2])}%`);
    const label = element("bdi", by ? `${by} - ${words}` : words);
    label.title = name;
    line.append(element("span", cluster, "c"), label, element("span", percent(share), "p"));
    return line;
  }));
  const more = pick.count - listed.length;
  byId("d-more").textContent = more > 0 ? `and ${more.toLocaleString("en-US")} others, none of them likelier` : "";
  showThumb(pick, arrived);
}

function showThumb(pick, arrived) {
  const thumb = byId("thumb"), shown = sprite(pick.preset, arrived);
  if (!shown?.image.complete || !shown.image.naturalWidth) {
    thumb.style.backgroundImage = "none";
    return;
  }
  const { image, x, y, width, height } = shown, [columns, rows] = [image.naturalWidth / width, image.naturalHeight / height];
  thumb.style.backgroundImage = `url("${image.getAttribute("src")}")`;
  thumb.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
  thumb.style.backgroundPosition = `${columns > 1 ? (100 * x) / width / (columns - 1) : 0}% ${rows > 1 ? (100 * y) / height / (rows - 1) : 0}%`;
}
