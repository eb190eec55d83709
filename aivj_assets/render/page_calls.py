"""The scripts that are evaluated in a render page, and the limits of what they may bring back."""

from __future__ import annotations

from typing import Any

from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters

WEBGL_RENDERER_JS = """() => {
  const gl = document.createElement('canvas').getContext('webgl2');
  if (!gl) return null;
  const info = gl.getExtension('WEBGL_debug_renderer_info');
  return String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
}"""

DESCRIBE_JS = (
    """async () => typeof globalThis.__aivj_describe === 'function' ? await globalThis.__aivj_describe() : null"""
)

SOUND_JS = """([settings, seconds]) => globalThis.__aivj_sound(settings, seconds)"""

# The page's scripts may still be loading packages when the document's load event has fired.
OWN_FUNCTION_JS = """async () => {
  const end = performance.now() + 30000;
  while (typeof globalThis.__nw_dumpPresetFrames !== 'function') {
    if (performance.now() > end) throw new Error('the render page offers no __nw_dumpPresetFrames');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return globalThis.__nw_dumpPresetFrames;
}"""

APP_FUNCTION_JS = """async () => {
  if (typeof globalThis.__nw_dumpPresetFrames === 'function') return globalThis.__nw_dumpPresetFrames;
  const module = await import('/src/features/presets/presetFrameDump.ts');
  if (typeof module.dumpPresetFrames !== 'function') throw new Error('presetFrameDump.ts exports no dumpPresetFrames');
  return module.dumpPresetFrames;
}"""

# The answer is copied into plain values cut to size: a preset must not fill the driver's memory with one string.
CALL_DUMP_JS = """async ([dump, payload, limits]) => {
  const text = (value, size) => value === undefined || value === null ? null : String(value).slice(0, size);
  const texts = (value) => Array.isArray(value) ? value.slice(0, 20).map((item) => text(item, 500)) : null;
  const image = (value) => {
    if (!value || typeof value !== 'object' || typeof value.b64 !== 'string') return null;
    return { mime: text(value.mime, 50), b64: value.b64.length > limits.imageChars ? null : value.b64,
             chars: value.b64.length };
  };
  let answer;
  try {
    answer = await dump(payload);
  } catch (error) {
    return { threw: text(error && error.message ? `${error.name}: ${error.message}` : error, 2000) };
  }
  if (!answer || typeof answer !== 'object') return { threw: `the page answered ${text(answer, 100)}` };
  const numbers = (value) => {
    const kept = {};
    for (const [name, number] of Object.entries(value || {}).slice(0, 32)) {
      if (typeof number === 'number') kept[name.slice(0, 50)] = number;
    }
    return kept;
  };
  return {
    ok: answer.ok, reasons: texts(answer.reasons), errorText: text(answer.errorText, 2000),
    metrics: numbers(answer.metrics), timings_ms: numbers(answer.timings_ms),
    warnings: texts(answer.warnings), reference: image(answer.reference),
    frameCount: Array.isArray(answer.frames) ? answer.frames.length : -1,
    frames: Array.isArray(answer.frames) ? answer.frames.slice(0, limits.frames).map(image) : null,
  };
}"""


def max_image_bytes(out_size: int) -> int:
    """Return the largest encoded image that is believed, in bytes: uncompressed RGBA plus room for headers."""
    return 4 * out_size * out_size + 65_536


def answer_limits(parameters: RenderParameters) -> dict[str, int]:
    """Return the limits for the page's answer: base64 characters of an image, number of frames."""
    return {
        "imageChars": (max_image_bytes(parameters.out_size) + 2) // 3 * 4,
        "frames": parameters.capture_count + 1,
    }


def has_webgl(told: Any) -> bool:
    """Tell whether our own page, by what its `__aivj_describe` told, can still draw with a renderer that it names."""
    return isinstance(told, dict) and told.get("webgl2") is not False and bool(_short(told.get("rendererUnmasked")))


def read_description(told: Any, webgl_renderer: str) -> PageDescription:
    """Return what `__aivj_describe` told as a description; `webgl_renderer` stands in where the page tells none.

    Versions of converters and ways of drawing, where told, stay with it: they decide pixels too.
    """
    told = told if isinstance(told, dict) else {}
    names = {"engine": "engine", "engineVersion": "engineVersion", "pageVersion": "pageVersion"}
    names["renderer"] = "rendererUnmasked"
    fields: dict[str, Any] = {name: _short(told.get(source)) for name, source in names.items()}
    fields["renderer"] = fields["renderer"] or webgl_renderer
    for group in ("converterVersions", "drawing"):
        values = told.get(group)
        if isinstance(values, dict) and values:
            fields[group] = {_short(name): _short(values[name]) for name in sorted(values, key=str)}
    return PageDescription.model_validate(fields)


def _short(value: Any) -> str:
    return value[:500] if isinstance(value, str) else ""
