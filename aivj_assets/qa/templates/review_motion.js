// The other captures of a preset, in motion; side by side where the system asks for less motion.

function roll(tile) {
  if (!tile.dataset.strip || tile.querySelector(".film")) return;
  const film = document.createElement("span");
  const strip = document.createElement("img");
  film.className = "film";
  film.style.setProperty("--n", tile.dataset.captures);
  strip.src = tile.dataset.strip;
  strip.alt = "";
  strip.addEventListener("error", () => film.remove());
  film.append(strip);
  tile.querySelector(".frame").append(film);
}

const stop = (tile) => tile.querySelector(".film")?.remove();

function stopAll() {
  for (const film of document.querySelectorAll(".film")) film.remove();
}

function toggleMotion() {
  const tile = document.activeElement.closest(".tile");
  const tiles = tile ? [tile] : tilesOf(sections.get(current)).filter((one) => !one.hidden);
  const moving = tiles.some((one) => one.querySelector(".film"));
  tiles.forEach(moving ? stop : roll);
  if (!tiles.some((one) => one.dataset.strip)) say("These presets have one capture only.");
}

const still = matchMedia("(prefers-reduced-motion: reduce)");
document.addEventListener("pointerover", (event) => {
  const tile = event.target.closest?.(".tile");
  if (tile && event.pointerType === "mouse") roll(tile);
});
document.addEventListener("pointerout", (event) => {
  const tile = event.target.closest?.(".tile");
  if (tile && !tile.contains(event.relatedTarget) && tile !== document.activeElement) stop(tile);
});
document.addEventListener("focusin", (event) => {
  if (still.matches && event.target.matches?.(".tile")) roll(event.target);
});
document.addEventListener("focusout", (event) => {
  if (event.target.matches?.(".tile")) stop(event.target);
});
document.addEventListener("click", (event) => {
  const frame = event.target.closest?.(".frame");
  if (frame) frame.closest(".tile").focus({ preventScroll: true });
  if (frame && event.pointerType !== "mouse") roll(frame.closest(".tile"));
});
