// The show page: what a person meets before and around a show.

import { installControls } from "./show-keys.mjs";
import { Show } from "./show-live.mjs";

const IDLE_MS = 3000;
const byId = (id) => document.getElementById(id);

function controlsOf(show) {
  const isFavourite = () => Boolean(show.session?.pick && show.store.has("favourites", show.session.pick.presetId));
  return installControls([
    {
      name: "play",
      keys: [" "],
      shown: ["Space"],
      words: "Play or pause",
      button: () => (show.audio.paused ? "Play" : "Pause"),
      run: () => show.togglePlay(),
    },
    {
      name: "skip",
      keys: ["s", "ArrowRight"],
      shown: ["S", "→"],
      words: "Skip this preset",
      button: "Skip",
      run: () => show.act("skip"),
    },
    {
      name: "favourite",
      keys: ["f"],
      shown: ["F"],
      words: "Favourite, or no longer",
      button: "Favourite",
      pressed: isFavourite,
      run: () => show.act("favourite"),
    },
    {
      name: "hold",
      keys: ["h"],
      shown: ["H"],
      words: "Hold it on screen, or release it",
      button: "Hold",
      pressed: () => Boolean(show.session?.held),
      run: () => show.act("hold"),
    },
    {
      name: "blacklist",
      keys: ["b"],
      shown: ["B"],
      words: "Never show this preset again",
      button: "Never again",
      run: () => show.act("blacklist"),
    },
    {
      name: "model",
      keys: ["m"],
      shown: ["M"],
      words: "Audio → style model on or off (where the pack has one)",
      button: "Model",
      isOffered: () => show.model !== null,
      pressed: () => show.isModelOn,
      run: () => show.toggleModel(),
    },
    {
      name: "file",
      keys: ["n"],
      shown: ["N"],
      words: "Choose other music",
      button: "Music",
      run: () => show.chooseFile(),
    },
    {
      name: "panel",
      keys: ["o"],
      shown: ["O"],
      words: "Hide or show the panel",
      button: "Hide panel",
      run: () => show.track && show.showPanel(byId("panel").hidden),
    },
    {
      name: "fullscreen",
      keys: ["l"],
      shown: ["L"],
      words: "Full screen",
      button: "Full screen",
      run: () => show.fullscreen(),
    },
    { name: "keys", keys: ["?"], shown: ["?"], words: "This list", button: "Keys", run: () => show.showKeys() },
  ]);
}

function watchFiles(show) {
  byId("file").disabled = false;
  byId("file").addEventListener("change", ({ target }) => {
    if (target.files.length) show.open(target.files[0]);
    target.value = "";
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const [file] = event.dataTransfer.files;
    if (file) show.open(file);
  });
}

/** Without a movement the pointer and the panel's button leave the pictures alone. */
function watchIdle() {
  let timer = 0;
  const wake = () => {
    document.body.classList.remove("idle");
    clearTimeout(timer);
    timer = setTimeout(() => document.body.classList.toggle("idle", byId("panel").hidden), IDLE_MS);
  };
  for (const event of ["pointermove", "pointerdown", "keydown"]) addEventListener(event, wake);
  wake();
}

async function start() {
  const response = await fetch("/api/pack");
  const pack = await response.json();
  if (!response.ok) throw new Error(pack.error);
  document.title = `${pack.pack} – aivj show`;
  byId("pack-name").textContent = pack.pack;
  const count = pack.index.entries.length;
  const clusters = new Set(pack.index.entries.map(({ authorKey }) => authorKey)).size;
  const presets = `${count.toLocaleString("en")} preset${count === 1 ? "" : "s"}`;
  byId("pack-facts").textContent = `${presets} in ${clusters} style${clusters === 1 ? "" : "s"}.`;
  const show = new Show(pack);
  await show.useModel();
  show.controls = controlsOf(show);
  show.controls.refresh();
  setInterval(() => show.controls.refresh(), 250);
  watchFiles(show);
  watchIdle();
  if (pack.given) {
    const button = byId("play-given");
    button.textContent = `Play ${pack.given.name}`;
    button.hidden = false;
    byId("choose").classList.remove("main");
    button.addEventListener("click", () => show.open(pack.given));
    button.focus();
  }
}

start().catch((error) => {
  byId("pack-facts").textContent = "";
  byId("start-problem").textContent = error.message;
  byId("start-problem").hidden = false;
});
