// Giving verdicts, renaming, notes.

function judge(id, verdict) {
  change(id, { verdict });
  paint(id);
  paintProgress();
  const done = reviewed();
  const all = done === data.clusters.length;
  const outcome = verdict ? `${nameOf(id)}: ${verdict}.` : `${nameOf(id)}: verdict taken back.`;
  say(`${outcome} ${all ? `All ${done} clusters are reviewed; e exports them.` : `${done} of ${data.clusters.length} reviewed.`}`);
}

// A line to type in, in the place of `at`; Enter and leaving it keep the text, Esc does not.
function ask(id, at, { value, most, name, done }) {
  const input = document.createElement("input");
  input.type = "text";
  input.className = "line";
  input.maxLength = most;
  input.value = value;
  input.dir = "auto";
  input.setAttribute("aria-label", name);
  let open = true;
  const close = (taken) => {
    if (!open) return;
    open = false;
    const hadFocus = document.activeElement === input;
    input.remove();
    at.classList.remove("replaced");
    if (taken) done(tidy(input.value, most));
    paint(id);
    if (hadFocus) sections.get(id).focus({ preventScroll: true });
  };
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    close(event.key === "Enter");
  });
  input.addEventListener("blur", () => close(true));
  at.classList.add("replaced");
  at.after(input);
  input.focus();
  input.select();
}

function rename(id) {
  const known = said(id).label ?? facts.get(id).label;
  ask(id, sections.get(id).querySelector("h2 .label"), {
    value: known === id ? "" : known,
    most: MOST_LABEL,
    name: `New label of ${id}`,
    done: (label) => {
      const own = label === facts.get(id).label ? null : label;
      if (own === said(id).label) return;
      change(id, { label: own });
      say(own ? `${id} is called ${own}.` : `${id} has its former label.`);
    },
  });
}

function note(id) {
  ask(id, sections.get(id).querySelector(".note"), {
    value: said(id).note ?? "",
    most: MOST_NOTE,
    name: `Note on ${id}`,
    done: (written) => {
      if (written === said(id).note) return;
      change(id, { note: written });
      say(written ? `Note on ${id} kept.` : `${id} has no note.`);
    },
  });
}

function exportFile() {
  const file = verdictsFile();
  const address = URL.createObjectURL(new Blob([`${JSON.stringify(file, null, 2)}\n`], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = "verdicts.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
  exported = true;
  const count = Object.keys(file.clusters).length;
  say(
    data.lineage
      ? `verdicts.json: ${count} of ${data.clusters.length} clusters. Now: aivj qa import verdicts.json`
      : `verdicts.json: ${count} clusters. This batch is in no lineage: the file cannot be imported.`,
  );
}

$("file").addEventListener("change", async () => {
  const [file] = $("file").files;
  if (!file) return;
  const told = absorb(await file.text());
  $("file").value = "";
  paintAll();
  say(told);
});
