// A preset's failure as data: the reason code of the contracts and a text.

const TEXT_LIMIT = 800;

/** Thrown anywhere below render.js; `code` is one of the contracts' reason codes. */
export class PresetFailure extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

/** A short text for anything that was thrown, presets included. */
export function describeError(error) {
  let text;
  try {
    text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    if (error && error.sourceContext) text += `\n${error.sourceContext}`;
  } catch {
    text = "an error that cannot be shown";
  }
  return text.slice(0, TEXT_LIMIT);
}
