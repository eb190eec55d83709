// What stands around the map: legend, card, selection.
const KINDS = [
  { title: "Clusters", name: (i) => facts.clusters[i].id, more: (i) => facts.clusters[i].label, length: facts.clusters.length },
  { title: "Energies", name: (i) => facts.energies[i], more: () => "", length: facts.energies.length },
  { title: "Batches", name: (i) => facts.batches[i].name, more: () => "", length: facts.batches.length },
];
const ENERGY_RGB = [[56, 189, 248], [74, 222, 128], [251, 113, 133]];

// Hues a golden angle apart, lightness in three steps: neighbours in a list never look alike.
function colourOf(i) {
  const h = (i * 137.508 + 200) % 360, l = [0.66, 0.5, 0.8][i % 3], s = [0.75, 0.85, 0.6][(i >> 1) % 3];
  const part = (k) => { const t = (k + h / 30) % 12; return l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(t - 3, 9 - t, 1)); };
  return [0, 8, 4].map((k) => Math.round(255 * part(k)));
}

const css = (rgb) => `rgb(${rgb.join(" ")})`;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function makeShown(points) {
  const counts = points.classes.map((of, kind) => {
    const numbers = new Uint32Array(KINDS[kind].length);
    for (const value of of) numbers[value]++;
    return numbers;
  });
  return KINDS.map((kind, k) => Array.from({ length: kind.length }, (_, i) => ({
    rgb: k === 1 ? ENERGY_RGB[i] : colourOf(i), on: true, presets: counts[k][i],
  })));
}

function fillLegend(shown, kind, changed) {
  byId("h-legend").textContent = KINDS[kind].title;
  byId("legend").replaceChildren(...shown[kind].map((one, i) => {
    const line = element("li"), label = element("label"), box = element("input"), dot = element("span", "dot");
    [box.type, box.checked] = ["checkbox", one.on];
    box.addEventListener("change", () => { one.on = box.checked; changed(); });
    dot.style.background = css(one.rgb);
    const more = KINDS[kind].more(i), name = KINDS[kind].name(i);
    const words = element("bdi", "", more && more !== name ? `${name} ${more}` : name);
    words.title = words.textContent;
    label.append(box, dot, words, element("span", "n", count(one.presets)));
    const only = element("button", "", "only");
    only.type = "button";
    only.setAttribute("aria-label", `only ${name}`);
    only.addEventListener("click", () => { shown[kind].forEach((other) => { other.on = other === one; }); changed(true); });
    line.append(label, only);
    return line;
  }));
}

function pageOf(points, i) {
  const cluster = facts.clusters[points.classes[0][i]].id;
  return { cluster, href: `${facts.batches[points.classes[2][i]].page}#${cluster}` };
}

function fillCard(points, i) {
  const thumb = byId("thumb"), at = i % facts.spritesPerSheet, column = at % facts.columns, row = Math.floor(at / facts.columns);
  const sheet = facts.sheets[Math.floor(i / facts.spritesPerSheet)];
  // A stored square is shown at 16:9, 128 by 72 pixels, as it was rendered.
  thumb.style.backgroundImage = `url("${sheet.path}")`;
  thumb.style.backgroundSize = `${(128 * sheet.width) / facts.spritePx}px ${(72 * sheet.height) / facts.spritePx}px`;
  thumb.style.backgroundPosition = `${-128 * column}px ${-72 * row}px`;
  const cluster = facts.clusters[points.classes[0][i]], { href } = pageOf(points, i);
  byId("card-title").textContent = names.titles[i] ?? (names.parts < facts.nameFiles.length ? "name is loading ..." : "(name is missing)");
  byId("card-author").textContent = names.authors[i] ?? "";
  const motion = (points.motion[i] / 65535).toFixed(3), energy = facts.energies[points.classes[1][i]];
  byId("card-facts").textContent = `${cluster.id}${cluster.label === cluster.id ? "" : ` ${cluster.label}`} · ${energy} · motion ${motion}`;
  const link = byId("card-link");
  link.href = href;
  link.textContent = `${cluster.id} of ${facts.batches[points.classes[2][i]].name} on the review page`;
  thumb.setAttribute("aria-label", `picture of ${names.titles[i] ?? "the preset"}`);
}

function placeCard(view, i, field) {
  const card = byId("card"), [x, y] = view.ofPreset(i);
  byId("spot").style.transform = `translate(${x}px, ${y}px)`;
  const left = x + 16 + card.offsetWidth > field.clientWidth ? x - 16 - card.offsetWidth : x + 16;
  const top = Math.min(field.clientHeight - card.offsetHeight - 6, Math.max(6, y - card.offsetHeight / 2));
  card.style.transform = `translate(${Math.round(Math.max(6, left))}px, ${Math.round(top)}px)`;
}

function fillChosen(points, shown, chosen) {
  byId("chosen").hidden = !chosen.length;
  byId("copied").textContent = "";
  byId("ids").hidden = true;
  if (!chosen.length) return;
  const tally = (kind) => {
    const numbers = new Map();
    for (const i of chosen) numbers.set(points.classes[kind][i], (numbers.get(points.classes[kind][i]) ?? 0) + 1);
    return [...numbers].sort((a, b) => b[1] - a[1]);
  };
  byId("count").textContent = `${count(chosen.length)} ${chosen.length === 1 ? "preset" : "presets"} selected`;
  byId("mix-energy").textContent = tally(1).map(([value, n]) => `${facts.energies[value]} ${count(n)}`).join(" · ");
  byId("mix").replaceChildren(...tally(0).map(([value, n]) => {
    const line = element("li"), dot = element("span", "dot"), bar = element("span", "bar"), { id, label } = facts.clusters[value];
    dot.style.background = bar.style.background = css(shown[0][value].rgb);
    bar.style.width = `${(100 * n) / chosen.length}%`;
    line.append(dot, element("bdi", "", label === id ? id : `${id} ${label}`), element("span", "", `${count(n)} · ${Math.round((100 * n) / chosen.length)} %`), bar);
    return line;
  }));
}

async function copyIds(chosen) {
  const ids = chosen.map((i) => names.ids[i]).filter((id) => id !== undefined);
  if (ids.length < chosen.length) {
    byId("copied").textContent = names.parts < facts.nameFiles.length ? "ids are still loading" : "ids are missing";
    return;
  }
  const text = ids.join("\n"), area = byId("ids");
  try {
    await navigator.clipboard.writeText(text);
    byId("copied").textContent = `${count(ids.length)} copied`;
  } catch {
    // A page from disk may not have the clipboard; a field whose text is selected has.
    area.value = text;
    area.hidden = false;
    area.select();
    byId("copied").textContent = document.execCommand("copy") ? `${count(ids.length)} copied` : "press Ctrl+C to copy";
  }
}
