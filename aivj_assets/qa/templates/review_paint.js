// What the page shows of the verdicts: buttons, names, chips, progress.

const sections = new Map([...document.querySelectorAll("section.cluster")].map((section) => [section.id, section]));
const chips = new Map([...document.querySelectorAll("[data-chip]")].map((chip) => [chip.dataset.chip, chip]));
let fading = 0;

function say(words) {
  const toast = $("said");
  toast.textContent = words;
  toast.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => toast.classList.remove("shown"), 5000);
}

const nameOf = (id) => {
  const label = said(id).label ?? facts.get(id).label;
  return label === id ? id : `${id} ${label}`;
};

const reviewed = () => data.clusters.filter(({ id }) => said(id).verdict).length;

function paint(id) {
  const section = sections.get(id);
  const { verdict, label, note, again, before } = said(id);
  for (const button of section.querySelectorAll(".verdicts button"))
    button.setAttribute("aria-pressed", String(button.dataset.act === verdict));
  section.dataset.verdict = verdict ?? (again ? "again" : "");
  const shown = label ?? facts.get(id).label;
  const place = section.querySelector("h2 .label");
  place.textContent = shown === id ? "" : shown;
  place.classList.toggle("own", label !== null && label !== facts.get(id).label);
  const noted = section.querySelector(".note");
  noted.textContent = note ?? "";
  noted.hidden = !note;
  const earlier = section.querySelector(".before");
  earlier.textContent = again ? `was ${again}; ${data.known[id].why ?? "it has changed much since"}: ask again` : before && verdict ? "given before" : "";
  earlier.hidden = !earlier.textContent;
  const chip = chips.get(id);
  chip.dataset.verdict = section.dataset.verdict;
  const state = verdict ?? (again ? "ask again" : "not judged");
  const { size } = facts.get(id);
  chip.firstElementChild.setAttribute("aria-label", `Cluster ${id}, ${size} presets, ${state}`);
  chip.firstElementChild.title = `${nameOf(id)}, ${size} presets, ${state}`;
}

function paintProgress() {
  const done = reviewed();
  const count = data.clusters.length;
  $("reviewed").textContent = `${done} of ${count}`;
  $("progress").setAttribute("aria-valuenow", done);
  $("progress").style.setProperty("--done", `${(100 * done) / count}%`);
}

function paintAll() {
  for (const id of sections.keys()) paint(id);
  paintLikes();
  paintProgress();
}
