// Near-duplicates: which one of a group is kept; presets that are not wanted.

const likes = $("duplicates");
const groups = likes ? [...likes.querySelectorAll(".group")] : [];
const membersOf = (group) => [...group.querySelectorAll(".like")].map((one) => one.dataset.id);
const rows = () => [...likes.querySelectorAll(".group, .misfits .like")];

function paintLikes() {
  for (const group of groups) {
    const kept_ = marks.keep[keyOf(membersOf(group))]?.keep;
    group.classList.toggle("decided", kept_ !== undefined);
    for (const one of group.querySelectorAll(".like")) {
      one.classList.toggle("kept", one.dataset.id === kept_);
      one.classList.toggle("dropped", kept_ !== undefined && one.dataset.id !== kept_);
      one.querySelector("[data-act=keep]").setAttribute("aria-pressed", String(one.dataset.id === kept_));
    }
  }
  for (const button of likes?.querySelectorAll("[data-act=blacklist]") ?? []) {
    const one = button.closest(".like");
    const listed = Object.hasOwn(marks.blacklist, one.dataset.id);
    button.setAttribute("aria-pressed", String(listed));
    one.classList.toggle("listed", listed);
  }
}

// Keeps the preset at a place of a group, or with null takes the choice back.
function keepOne(group, place) {
  const presets = membersOf(group);
  const key = keyOf(presets);
  if (place === null || marks.keep[key]?.keep === presets[place]) delete marks.keep[key];
  else if (place < presets.length) marks.keep[key] = { presets, keep: presets[place] };
  else return;
  keep();
  paintLikes();
  const title = place === null ? "" : group.querySelectorAll(".like .title")[place].textContent;
  const dropped = presets.length - 1;
  say(marks.keep[key] ? `Kept: ${title}. ${dropped === 1 ? "The other is" : `${dropped} others are`} dropped.` : "Choice taken back.");
}

function blacklist(one) {
  const { id } = one.dataset;
  const button = one.querySelector("[data-act=blacklist]");
  if (Object.hasOwn(marks.blacklist, id)) delete marks.blacklist[id];
  else marks.blacklist[id] = button.dataset.reason;
  keep();
  paintLikes();
  const title = one.querySelector(".title").textContent;
  say(Object.hasOwn(marks.blacklist, id) ? `Blacklisted: ${title}.` : `No longer blacklisted: ${title}.`);
}

function stepLikes(by) {
  const all = rows();
  const here = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[here < 0 ? 0 : here + by];
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "nearest" });
}

// Keys while the focus is in the section; returns whether one was taken.
function likesKey(key) {
  const group = document.activeElement.closest(".group");
  const one = document.activeElement.closest(".like");
  if (key === "j" || key === "ArrowDown") stepLikes(1);
  else if (key === "k" || key === "ArrowUp") stepLikes(-1);
  else if (group && /^[1-9]$/.test(key)) keepOne(group, Number(key) - 1);
  else if (group && key === "u") keepOne(group, null);
  else if (one && key === "x") blacklist(one);
  else if (key === "Escape") go(current);
  else return false;
  return true;
}

for (const row of likes?.querySelectorAll(".misfits .like") ?? []) row.tabIndex = 0;
