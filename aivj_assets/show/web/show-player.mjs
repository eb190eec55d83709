// The music: a file that the person chose, played by the browser, and its sound as the presets hear it.

const WINDOW = 1024; // samples that butterchurn hears at once

export class Player {
  #context = null;
  #analysers = null;
  #url = null;

  /** `audio`: the page's audio element. */
  constructor(audio) {
    this.audio = audio;
  }

  /** Takes a file, or an address of this server. */
  open(source) {
    this.audio.pause();
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = typeof source === "string" ? null : URL.createObjectURL(source);
    this.audio.src = this.#url ?? source;
  }

  /** Plays; true unless the browser wants a click or a key first. Throws when the file cannot be played. */
  async play() {
    this.#wire();
    try {
      // Without a gesture it would wait for one, silently.
      this.#context.resume().catch(() => {});
      await this.audio.play();
    } catch (error) {
      if (error.name === "NotAllowedError" || error.name === "AbortError") return false;
      throw error;
    }
    return true;
  }

  #wire() {
    if (this.#context) return;
    this.#context = new AudioContext();
    const source = this.#context.createMediaElementSource(this.audio);
    // Two channels, whatever the track has: presets hear left and right.
    const both = new GainNode(this.#context, { channelCount: 2, channelCountMode: "explicit" });
    const splitter = new ChannelSplitterNode(this.#context, { numberOfOutputs: 2 });
    const analyser = () => new AnalyserNode(this.#context, { fftSize: WINDOW, smoothingTimeConstant: 0 });
    const [mono, left, right] = [analyser(), analyser(), analyser()];
    source.connect(both).connect(this.#context.destination);
    both.connect(mono);
    both.connect(splitter);
    splitter.connect(left, 0);
    splitter.connect(right, 1);
    this.#analysers = { timeByteArray: mono, timeByteArrayL: left, timeByteArrayR: right };
  }

  /** The last 1,024 samples, 8 bits with 128 as zero, as butterchurn takes them; null before the first play. */
  sound() {
    if (!this.#analysers) return null;
    const heard = {};
    for (const [name, analyser] of Object.entries(this.#analysers)) {
      heard[name] = new Uint8Array(WINDOW);
      analyser.getByteTimeDomainData(heard[name]);
    }
    return heard;
  }
}
