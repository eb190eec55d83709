// Whether the preset's programs are the ones that will draw.
//
// Belongs here: link and compile states, the info log's first lines, the proof that a preset's own shader text is
// in the program that is used. Does not belong here: converting shaders (hlsl.js). Butterchurn never looks at
// these states: a program that failed draws nothing or a plausible wrong picture.

const LOG_LINES = 6;

function firstLines(text) {
  return (text || "").replace(/\0/g, "").trim().split("\n").slice(0, LOG_LINES).join("\n");
}

function logOf(gl, program) {
  const logs = [];
  for (const shader of gl.getAttachedShaders(program) || []) {
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) logs.push(gl.getShaderInfoLog(shader));
  }
  return firstLines(logs.join("\n") || gl.getProgramInfoLog(program) || "no info log");
}

function nameOf(renderer, program) {
  if (program === renderer.warpShader.shaderProgram) return "warp";
  if (program === renderer.compShader.shaderProgram) return "comp";
  return "built-in";
}

/** The body of a butterchurn shader text, as butterchurn pastes it into its program. */
function pastedBody(text) {
  const start = text.indexOf("shader_body");
  const rest = start > -1 ? text.substring(start) : text;
  const body = start > -1 ? rest.substring(rest.indexOf("{") + 1, rest.lastIndexOf("}")) : rest;
  return body.replace(/texture2D|texture3D/g, "texture").trim();
}

function holdsText(gl, program, text) {
  const body = pastedBody(text.trim());
  return (gl.getAttachedShaders(program) || []).some((shader) => gl.getShaderSource(shader).includes(body));
}

/**
 * Looks at every program made for the visualizer. Returns null when all are linked and the preset's own shader
 * texts are in use, else the reason in words.
 */
export function programFailure({ gl, renderer, made }, shaders) {
  for (const program of made.Program) {
    if (gl.getProgramParameter(program, gl.LINK_STATUS)) continue;
    if (gl.isContextLost()) return null;
    return `${nameOf(renderer, program)} shader: ${logOf(gl, program)}`;
  }
  for (const stage of ["warp", "comp"]) {
    const program = renderer[`${stage}Shader`].shaderProgram;
    if (shaders[stage] && !holdsText(gl, program, shaders[stage])) {
      return `${stage} shader: the preset's own shader is not the one in use`;
    }
  }
  return null;
}
