// The images that presets may name besides the engine's own, from the butterchurnExtraImages bundle (a classic
// script that leaves its exports in a global of that name).

const bundle = globalThis.butterchurnExtraImages;
const images = bundle ? (bundle.default || bundle).getImages() : {};

/** name → {data: data URL, width, height}; frozen, as presets share it. */
export const EXTRA_TEXTURES = Object.create(null);
for (const [name, { data, width, height }] of Object.entries(images)) {
  EXTRA_TEXTURES[name] = Object.freeze({ data, width, height });
}
Object.freeze(EXTRA_TEXTURES);

/** GLSL that declares texsize_name of a preset's own texture, which the engine does not: that of the image behind it. */
export function declareSize(name) {
  const image = EXTRA_TEXTURES[name.replace(/^texsize_(?:(?:fw|fc|pw|pc)_)?/, "")] || { width: 256, height: 256 };
  const [width, height] = [`${image.width}.0`, `${image.height}.0`];
  return `const vec4 ${name} = vec4(${width}, ${height}, 1.0 / ${width}, 1.0 / ${height});`;
}
