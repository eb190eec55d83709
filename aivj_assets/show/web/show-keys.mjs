// Keys and buttons: one list of what a person can do.

/** {name, keys (KeyboardEvent.key), shown, button, words, pressed?: state() → boolean, run} */
export function installControls(actions) {
  const bar = document.getElementById("controls");
  const list = document.getElementById("key-list");
  const byKey = new Map();
  const buttons = [];
  for (const action of actions) {
    for (const key of action.keys) byKey.set(key, action);
    const term = document.createElement("dt");
    for (const shown of action.shown) {
      const key = document.createElement("kbd");
      key.textContent = shown;
      term.append(key, " ");
    }
    const words = document.createElement("dd");
    words.textContent = action.words;
    list.append(term, words);
    if (!action.button) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.action = action.name;
    const hint = document.createElement("kbd");
    hint.textContent = action.shown[0];
    hint.setAttribute("aria-hidden", "true");
    const text = document.createElement("span");
    button.append(text, hint);
    button.addEventListener("click", () => action.run());
    bar.append(button);
    buttons.push({ action, button, text });
  }

  function isTaken(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return true;
    const { target } = event;
    // A button answers Space itself; a slider and a field answer their own keys.
    const isPress = event.key === " " || event.key === "Enter";
    if (target instanceof HTMLButtonElement || target.closest?.(".button")) return isPress;
    return target instanceof HTMLInputElement && (event.key.startsWith("Arrow") || target.type !== "range");
  }

  addEventListener("keydown", (event) => {
    const action = byKey.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (!action || event.repeat || isTaken(event)) return;
    event.preventDefault();
    action.run();
  });

  return {
    /** Brings labels and states of the buttons up to date. */
    refresh() {
      for (const { action, button, text } of buttons) {
        const label = typeof action.button === "function" ? action.button() : action.button;
        if (text.textContent !== label) text.textContent = label;
        if (action.pressed) button.setAttribute("aria-pressed", String(action.pressed()));
        if (action.isOffered) button.hidden = !action.isOffered();
      }
    },
  };
}
