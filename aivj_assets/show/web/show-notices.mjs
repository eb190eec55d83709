// Short messages at the top of the page.

const STAY_MS = 6000;
const MOST = 3;

export function notice(text, { isProblem = false, stays = false } = {}) {
  const box = document.getElementById("notices");
  const line = document.createElement("p");
  line.textContent = text;
  if (isProblem) line.className = "problem";
  box.append(line);
  while (box.children.length > MOST) box.firstChild.remove();
  if (!stays) setTimeout(() => line.remove(), isProblem ? 2 * STAY_MS : STAY_MS);
}
