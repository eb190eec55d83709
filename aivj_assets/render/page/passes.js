// Passes that nobody would see are not drawn.
//
// Belongs here: which passes of a frame feed the next one or a picture. Does not belong here: when a picture is taken
// (render.js).

import { random } from "/page/random.js";

/**
 * The composite pass draws to the screen only and feeds no later frame, so it is skipped unless `drawNext` is set;
 * its four random numbers are drawn all the same, or later frames would differ. Blur passes that the composite alone
 * reads are skipped with it.
 */
export function compositeOnDemand(renderer) {
  const [drawFrame, draw] = [renderer.render.bind(renderer), renderer.renderToScreen.bind(renderer)];
  const { getHighestBlur } = renderer.constructor;
  renderer.drawNext = true;
  renderer.render = function render(options) {
    const all = this.numBlurPasses;
    this.warpBlurPasses ??= Math.min(all, getHighestBlur(this.preset.warp));
    if (!this.drawNext) this.numBlurPasses = this.warpBlurPasses;
    try {
      drawFrame(options);
    } finally {
      this.numBlurPasses = all;
    }
  };
  renderer.renderToScreen = function renderToScreen() {
    if (this.drawNext) draw();
    else for (let i = 0; i < 4; i += 1) random();
  };
}
