// The spectra of the synthetic sound, computed once for all presets.
//
// Belongs here: keeping what the engine's audio processor makes of a window. Does not belong here: the sound itself
// (audio.js).

/** What butterchurn makes of a window of audio is kept with it, where the window itself is kept (audio.js). */
export function rememberSpectra(audio) {
  const update = audio.updateAudio.bind(audio);
  const made = ["timeArrayL", "timeArrayR", "freqArray", "freqArrayL", "freqArrayR"];
  audio.updateAudio = function updateAudio(both, left, right) {
    const { heard } = both;
    if (heard) {
      for (let i = 0; i < made.length; i += 1) this[made[i]] = heard[made[i]];
      return;
    }
    this.timeArrayL = new Int8Array(this.numSamps);
    this.timeArrayR = new Int8Array(this.numSamps);
    update(both, left, right);
    if (both.kept) {
      both.heard = {};
      for (let i = 0; i < made.length; i += 1) both.heard[made[i]] = this[made[i]];
    }
  };
}
