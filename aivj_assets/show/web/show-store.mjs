// What a person said of a pack's presets, kept in this browser: favourites, and presets never to be shown again.

const KINDS = ["favourites", "blacklist"];

export class Store {
  constructor(pack) {
    this.key = (kind) => `aivj-show:${pack}:${kind}`;
    this.kept = Object.fromEntries(KINDS.map((kind) => [kind, this.#read(kind)]));
  }

  #read(kind) {
    try {
      const ids = JSON.parse(localStorage.getItem(this.key(kind)) ?? "[]");
      return new Set(Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : []);
    } catch {
      return new Set(); // no storage, or not ours
    }
  }

  #write(kind) {
    try {
      localStorage.setItem(this.key(kind), JSON.stringify([...this.kept[kind]]));
    } catch {
      // Kept for this show only.
    }
  }

  has(kind, id) {
    return this.kept[kind].has(id);
  }

  set(kind, id, isIn) {
    if (isIn) this.kept[kind].add(id);
    else this.kept[kind].delete(id);
    this.#write(kind);
  }

  clear(kind) {
    this.kept[kind].clear();
    this.#write(kind);
  }

  ids(kind) {
    return [...this.kept[kind]];
  }
}
