// Whether the preset's programs are the ones that will draw.
//
// Belongs here: link and compile states, the info log's first lines, the proof that a preset's own shader text is
// in the program that is used. Does not belong here: converting shaders (hlsl.js). Butterchurn never looks at
// these states: a program that failed draws nothing or a plausible wrong picture. A preset's equations have run
// when programFailure asks: it calls natives.js and loops over indices only.

import { includes, webgl } from "/page/natives.js";

const LOG_LINES = 6;
const { LINK_STATUS, COMPILE_STATUS } = globalThis.WebGL2RenderingContext || {};

function firstLines(text) {
  return (text || "").replace(/\0/g, "").trim().split("\n").slice(0, LOG_LINES).join("\n");
}

function logOf(gl, program) {
  let log = "";
  const shaders = webgl.getAttachedShaders(gl, program) || [];
  for (let i = 0; i < shaders.length; i += 1) {
    if (!webgl.getShaderParameter(gl, shaders[i], COMPILE_STATUS)) log += `${webgl.getShaderInfoLog(gl, shaders[i])}\n`;
  }
  return firstLines(log || webgl.getProgramInfoLog(gl, program) || "no info log");
}

function nameOf(renderer, program) {
  if (program === renderer.warpShader.shaderProgram) return "warp";
  if (program === renderer.compShader.shaderProgram) return "comp";
  return "built-in";
}

/** The body of a butterchurn shader text, as butterchurn pastes it into its program; null when it has no { … }. */
function pastedBody(text) {
  const start = text.indexOf("shader_body");
  if (start < 0) return text.replace(/texture2D|texture3D/g, "texture").trim();
  const rest = text.substring(start);
  const [open, close] = [rest.indexOf("{"), rest.lastIndexOf("}")];
  if (open < 0 || close < open) return null;
  return rest
    .substring(open + 1, close)
    .replace(/texture2D|texture3D/g, "texture")
    .trim();
}

/**
 * What of {warp, comp} must be found in the programs; "" where the preset has no shader. Must be called before any
 * of the preset's equations run. `refuse(text)` is called for a shader_body without { … }: butterchurn would paste
 * nothing and draw.
 */
export function expectedBodies(shaders, refuse) {
  const bodies = {};
  for (const stage of ["warp", "comp"]) {
    const body = shaders[stage] ? pastedBody(shaders[stage].trim()) : "";
    if (body === null) refuse(`${stage} shader: no { … } after shader_body`);
    bodies[stage] = body;
  }
  return bodies;
}

function holdsText(gl, program, body) {
  const shaders = webgl.getAttachedShaders(gl, program) || [];
  for (let i = 0; i < shaders.length; i += 1) {
    if (includes(webgl.getShaderSource(gl, shaders[i]), body)) return true;
  }
  return false;
}

/**
 * Looks at every program made for the visualizer. Returns null when all are linked and the preset's own shader
 * texts (`bodies`, from expectedBodies) are in use, else the reason in words.
 */
export function programFailure({ gl, renderer, made }, bodies) {
  for (let i = 0; i < made.Program.length; i += 1) {
    if (webgl.getProgramParameter(gl, made.Program[i], LINK_STATUS)) continue;
    if (webgl.isContextLost(gl)) return null;
    return `${nameOf(renderer, made.Program[i])} shader: ${logOf(gl, made.Program[i])}`;
  }
  const unused = "shader: the preset's own shader is not the one in use";
  if (bodies.warp && !holdsText(gl, renderer.warpShader.shaderProgram, bodies.warp)) return `warp ${unused}`;
  if (bodies.comp && !holdsText(gl, renderer.compShader.shaderProgram, bodies.comp)) return `comp ${unused}`;
  return null;
}
