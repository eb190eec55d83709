// The images that presets may name besides the engine's own, from the butterchurnExtraImages bundle (a classic
// script that leaves its exports in a global of that name).

const bundle = globalThis.butterchurnExtraImages;
const images = bundle ? (bundle.default || bundle).getImages() : {};

/** name → {data: data URL, width, height}. */
export const EXTRA_TEXTURES = Object.assign(Object.create(null), images);
