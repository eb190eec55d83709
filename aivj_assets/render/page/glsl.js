// The HLSL parser's GLSL → the shader text that butterchurn takes.
//
// Belongs here: dropping what the engine declares itself, GLSL ES 3 spelling, overloads that GLSL lacks. Does not
// belong here: HLSL.

import { ENGINE_NAMES } from "/page/hlsl_prelude.js";
import { declareSize } from "/page/textures.js";

const HELPERS = /^(?:vec\d|ivec\d|void|float)\s+(m_scalar_swizzle\d+|matrix_row\d+|sincos\d*|bvecTernary\d+)\(.*$/gm;

/** A vector condition with scalar branches, which the parser passes on as they are. */
const TERNARY = ["2", "3", "4"]
  .flatMap((n) =>
    [`vec${n}`, "float", "int"].flatMap((a) =>
      [`vec${n}`, "float", "int"].map(
        (b) => `vec${n} hl_select(bvec${n} c, ${a} x, ${b} y) { return mix(vec${n}(y), vec${n}(x), c); }`,
      ),
    ),
  )
  .join("\n");

/** Helpers that the parser puts before every program: kept when called, with matrices as we hold them. */
function usefulHelpers(text, body) {
  return text
    .replace(HELPERS, (line, name) => (body.includes(`${name}(`) ? line : ""))
    .replace(/\{ return vec(\d)\( m\[0\]\[i\].*$/gm, "{ return m[i]; }")
    .replace(/^vec3 (matrix_row\d+)\(mat3/m, "vec2 $1(mat2 m, int i) { return m[i]; }\nvec3 $1(mat3");
}

const GLOBAL =
  /^(?:uniform\s+)?((?:[iub]?vec|mat)\d|float|int|bool|sampler\w+)\s+(\w+)((?:\[\d+\])?)\s*(?:=\s*([^]*?))?;\s*$/;

/** Global lines of the parser's output → declarations and, as initial values need not be constant, assignments. */
function splitGlobals(header, sizes) {
  const kept = [];
  const initial = [];
  for (const line of header.split("\n")) {
    const match = GLOBAL.exec(line);
    if (/^\s*(?:#|precision|varying|$)/.test(line)) continue;
    if (!match) {
      kept.push(line);
      continue;
    }
    const [, type, name, array, value] = match;
    if (ENGINE_NAMES.has(name)) continue;
    if (type.startsWith("sampler")) kept.push(`uniform ${type} ${name};`);
    else if (sizes.includes(name)) kept.push(declareSize(name));
    else kept.push(`${type} ${name}${array};`);
    if (value !== undefined) initial.push(`${name} = ${value};`);
  }
  return { globals: kept.join("\n"), initial: initial.join("\n") };
}

/** How many values the code assigns; the parser may reword an assignment but must not lose one. */
export function countAssignments(code) {
  return (code.match(/(?<![=!<>])=(?!=)/g) || []).length;
}

/** The parser's whole output → "globals shader_body { body }"; "" when it is not as expected. */
export function assembleShader(output, sizes, written) {
  const text = output
    .replace(/^#line[^\n]*\n/gm, "")
    .replace(/\btexture(?:2D|3D)\b/g, "texture")
    .replace(/\btexture(?:2D|3D|Cube)?Lod(?:EXT)?\b/g, "textureLod");
  const start = text.indexOf("vec4 shader_body(vec2 uv) {");
  const end = text.indexOf("return vec4(ret, 1.000000);", start);
  if (start < 0 || end < 0) return "";
  const header = usefulHelpers(text.slice(0, start), text.slice(start));
  const { globals, initial } = splitGlobals(header, sizes);
  const body = text.slice(text.indexOf("{", start) + 1, end).replace("vec3 ret = vec3 (0);", "ret = vec3(0.0);");
  const copies = written.map((name) => `hl_${name} = ${name};`).join("\n");
  const select = /bvecTernary\d+/g;
  const helpers = select.test(body) || select.test(globals) ? `${TERNARY}\n` : "";
  const whole = `${helpers}${globals}\nshader_body {\n{ vec2 uv = uv; {\n${copies}\n${initial}\n${body}\n} }\n}`;
  return whole.replace(/^vec\d bvecTernary\d+\(.*$/gm, "").replace(select, "hl_select");
}
