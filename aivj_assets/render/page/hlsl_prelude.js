// What MilkDrop declares around every pixel shader, and what butterchurn has of it.
//
// Belongs here: the declarations that the HLSL parser must see, MilkDrop's macros, sampler names. Does not belong
// here: conversion (hlsl.js, hlsl_rewrite.js, glsl.js).

const FLOATS =
  "time fps frame progress decay bass mid treb vol bass_att mid_att treb_att vol_att rad ang " +
  "blur1_min blur1_max blur2_min blur2_max blur3_min blur3_max scale1 scale2 scale3 bias1 bias2 bias3";
const FLOAT4S =
  "aspect texsize texsize_noise_lq texsize_noise_mq texsize_noise_hq texsize_noise_lq_lite texsize_noisevol_lq " +
  "texsize_noisevol_hq _qa _qb _qc _qd _qe _qf _qg _qh slow_roam_cos roam_cos slow_roam_sin roam_sin rand_frame " +
  "rand_preset";
const SAMPLERS_2D =
  "main fw_main fc_main pw_main pc_main noise_lq noise_lq_lite noise_mq noise_hq pw_noise_lq blur1 blur2 blur3";
const SAMPLERS_3D = "noisevol_lq noisevol_hq";

const qNames = Array.from({ length: 32 }, (_, i) => `q${i + 1}`);

/** HLSL type of each of the engine's uniforms that a preset may write to. */
export function typeOfUniform(name) {
  if (FLOAT4S.split(" ").includes(name)) return "float4";
  return name === "hue_shader" ? "float3" : name === "uv_orig" ? "float2" : "float";
}

/** Names that the engine's GLSL program has already; a converted shader must not declare them. */
export const ENGINE_NAMES = new Set([
  ...FLOATS.split(" "),
  ...FLOAT4S.split(" "),
  ...SAMPLERS_2D.split(" ").map((name) => `sampler_${name}`),
  ...SAMPLERS_3D.split(" ").map((name) => `sampler_${name}`),
  ...qNames,
  "uv_orig",
  "hue_shader",
]);

export const ENGINE_TEXTURES = new Set([...SAMPLERS_2D.split(" "), ...SAMPLERS_3D.split(" ")]);

/** Declarations for the parser; all of them exist in the engine's program, so they are dropped from its output. */
export const DECLARATIONS = [
  ...SAMPLERS_2D.split(" ").map((name) => `sampler2D sampler_${name};`),
  ...SAMPLERS_3D.split(" ").map((name) => `sampler3D sampler_${name};`),
  ...[...FLOATS.split(" "), ...qNames].map((name) => `float ${name};`),
  ...FLOAT4S.split(" ").map((name) => `float4 ${name};`),
  "float3 hue_shader;",
  "float2 uv_orig;",
].join("\n");

/** MilkDrop's own macros. */
export const MACROS = [
  ["M_PI", null, "3.14159265359"],
  ["M_PI_2", null, "6.28318530718"],
  ["M_INV_PI_2", null, "0.159154943091895"],
  ["GetMain", ["uv"], "(tex2D(sampler_main,uv).xyz)"],
  ["GetPixel", ["uv"], "(tex2D(sampler_main,uv).xyz)"],
  ["GetBlur1", ["uv"], "(tex2D(sampler_blur1,uv).xyz*scale1 + bias1)"],
  ["GetBlur2", ["uv"], "(tex2D(sampler_blur2,uv).xyz*scale2 + bias2)"],
  ["GetBlur3", ["uv"], "(tex2D(sampler_blur3,uv).xyz*scale3 + bias3)"],
  ["lum", ["x"], "(dot(x,float3(0.32,0.49,0.29)))"],
  ["tex2d", null, "tex2D"],
  ["tex3d", null, "tex3D"],
];

/** GLSL keywords, built-ins and names of the engine's program that a preset may use for something of its own. */
export const RESERVED_NAMES = new Set(
  (
    "active asm attribute cast centroid common discard filter fixed flat highp input interface invariant " +
    "layout lowp mediump mod mix fract noise noise1 noise2 noise3 noise4 output partition precision resource " +
    "sample sampler shared smooth subroutine superp template texture texture2D texture3D this union using " +
    "varying vec2 vec3 vec4 mat2 mat3 mat4 inversesqrt dFdx dFdy PI resolution vColor vUv fragColor gammaAdj " +
    "echo_zoom echo_alpha echo_orientation invert brighten darken solarize fShader main"
  ).split(" "),
);

const SIZES = ["float", "float2", "float3", "float4"];

/** One function for each vector size; T stands for the type. */
function forSizes(text) {
  return SIZES.map((type) => text.replace(/\bT\b/g, type)).join("\n");
}

/**
 * Intrinsics in HLSL itself. The parser does not know tan, has float and half overloads that it cannot tell apart for
 * integer arguments, hands a scalar to a vector parameter as it is, turns fmod into GLSL's mod (another sign), and
 * writes GLSL matrices, whose columns are HLSL's rows, without turning mul round.
 */
const LIBRARY = [
  ["tan", forSizes("T hl_tan(T x) { return sin(x) / cos(x); }")],
  ["lerp", forSizes("T hl_lerp(T a, T b, T t) { return a + (b - a) * t; }")],
  ["clamp", forSizes("T hl_clamp(T x, T low, T high) { return min(max(x, low), high); }")],
  ["pow", forSizes("T hl_pow(T x, T y) { return pow(x, y); }")],
  ["min", forSizes("T hl_min(T x, T y) { return min(x, y); }")],
  ["max", forSizes("T hl_max(T x, T y) { return max(x, y); }")],
  ["fmod", forSizes("T hl_fmod(T x, T y) { T q = x / y; return x - y * sign(q) * floor(abs(q)); }")],
  ["step", forSizes("T hl_step(T edge, T x) { return step(edge, x); }")],
  ["smoothstep", forSizes("T hl_smoothstep(T a, T b, T x) { return smoothstep(a, b, x); }")],
  ["rsqrt", forSizes("T hl_rsqrt(T x) { return 1 / sqrt(x); }")],
  ["modf", forSizes("T hl_modf(T x, out T whole) { whole = sign(x) * floor(abs(x)); return x - whole; }")],
  ["atan2", forSizes("T hl_atan2(T y, T x) { return atan2(y, x); }")],
  [
    "mul",
    ["2", "3", "4"]
      .map((n) =>
        [
          `float hl_mul(float${n} a, float${n} b) { return dot(a, b); }`,
          `float${n} hl_mul(float${n} v, float${n}x${n} m) { return mul(m, v); }`,
          `float${n} hl_mul(float${n}x${n} m, float${n} v) { return mul(v, m); }`,
          `float${n}x${n} hl_mul(float${n}x${n} a, float${n}x${n} b) { return mul(b, a); }`,
        ].join("\n"),
      )
      .join("\n"),
  ],
];

export const LIBRARY_NAMES = new Set(LIBRARY.map(([name]) => name));

/** The library's functions that `text` calls. */
export function libraryFor(text) {
  return LIBRARY.filter(([name]) => text.includes(`hl_${name} (`))
    .map(([, code]) => code)
    .join("\n");
}
