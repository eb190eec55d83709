// The show's log on its way to the server: every line in order, none twice, also when the page is closed.

const RETRY_MS = 2000;
const GIVE_UP_MS = 60_000;

async function post(address, lines) {
  const body = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  const response = await fetch(address, { method: "POST", headers: { "Content-Type": "application/x-ndjson" }, body });
  const answer = await response.json().catch(() => ({}));
  return { ok: response.ok, ...answer };
}

export class ShowLog {
  #lines = [];
  #stored = 0; // so many of the lines the server has
  #show = null;
  #busy = false;
  #stopped = false;
  #failingSince = null;

  /** `onProblem(text)` is called when lines cannot be stored. */
  constructor(sessionLine, onProblem) {
    this.onProblem = onProblem;
    this.#lines.push(sessionLine);
    this.#send();
  }

  push(line) {
    this.#lines.push(line);
    this.#send();
  }

  get stored() {
    return this.#stored;
  }

  get count() {
    return this.#lines.length;
  }

  #address() {
    return `/api/shows/${encodeURIComponent(this.#show)}?from=${this.#stored}`;
  }

  async #send() {
    if (this.#busy || this.#stopped) return;
    this.#busy = true;
    try {
      while (this.#stored < this.#lines.length && !this.#stopped) await this.#sendSome();
      this.#failingSince = null;
    } catch {
      this.#failingSince ??= performance.now();
      if (performance.now() - this.#failingSince > GIVE_UP_MS) this.#stop("the server is gone");
      else setTimeout(() => this.#send(), RETRY_MS);
    } finally {
      this.#busy = false;
    }
  }

  async #sendSome() {
    const waiting = this.#lines.slice(this.#stored);
    const answer = this.#show ? await post(this.#address(), waiting) : await post("/api/shows", waiting.slice(0, 1));
    if (!answer.ok) this.#stop(answer.error ?? "the server refused the lines");
    else if (this.#show) this.#stored = answer.stored;
    else {
      this.#show = answer.show;
      this.#stored = 1;
    }
  }

  #stop(why) {
    this.#stopped = true;
    this.onProblem(`This show's log is no longer written: ${why}`);
  }

  /** Hands everything that is not stored to the browser, which sends it although the page is gone. */
  sendLast() {
    if (this.#show === null || this.#stopped || this.#stored >= this.#lines.length) return;
    const body = this.#lines.slice(this.#stored).map((line) => `${JSON.stringify(line)}\n`);
    navigator.sendBeacon(this.#address(), body.join(""));
    this.#stopped = true;
  }
}
