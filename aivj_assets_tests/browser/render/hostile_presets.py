"""Presets that mean harm: loops without end, floods, tricks on parsers, attempts to get out of the page."""

from __future__ import annotations

import json
from typing import Any

from aivj_assets_tests.conftest import js_preset

OK = "ok"
LOAD = "preset-load-failed"
COMPILE = "shader-compile-failed"
RENDER = "render-failed"
SLOW = "probe-timeout"


def milk(*lines: str) -> str:
    """A MilkDrop 1 preset with a few lines of its own."""
    return "\n".join(["[preset00]", "fDecay=0.9", "fWaveAlpha=1", "nWaveMode=0", *lines, ""])


def shader_milk(comp: str = "", warp: str = "", *lines: str) -> str:
    """A MilkDrop 2 preset with HLSL shaders."""
    code = [f"{name}_{i}=`{line}" for name, text in (("warp", warp), ("comp", comp)) if text
            for i, line in enumerate(text.split("\n"), 1)]  # fmt: skip
    head = ["MILKDROP_PRESET_VERSION=201", "PSVERSION=2", "PSVERSION_WARP=2", "PSVERSION_COMP=2"]
    return "\n".join([*head, "[preset00]", "fDecay=0.9", "fWaveAlpha=1", *lines, *code, ""])


def eel_json(frame: str, **more: Any) -> str:
    """A Butterchurn preset whose equations are EEL."""
    eel = {"init_eqs_eel": "", "frame_eqs_eel": frame, "pixel_eqs_eel": "", "warp": "", "comp": ""}
    return json.dumps({"baseVals": {"wave_a": 1, "decay": 0.9}} | eel | more)


def glsl(body: str, before: str = "") -> str:
    return js_preset("", comp=f"{before} shader_body {{ {body} }}")


def hlsl(body: str, before: str = "") -> str:
    return shader_milk(f"{before}\nshader_body {{ {body} }}")


def slot(equations: str = "", points: str = "", **base: float) -> dict[str, Any]:
    values = {"enabled": 1, "sides": 4, "rad": 0.2, "a": 1} | base
    return {"baseVals": values, "init_eqs_str": "", "frame_eqs_str": equations, "point_eqs_str": points}


def macros(first: str, following: str, count: int) -> str:
    """`count` definitions, each of which holds the one before it several times."""
    return "\n".join(
        [first, *(following.replace("THIS", f"A{n}").replace("LAST", f"A{n - 1}") for n in range(1, count))]
    )


GOOD_JSON = js_preset("a.wave_r = 0.5 + 0.5 * Math.sin(a.time) + rand(100) / 1000;")
GOOD_MILK = shader_milk(
    "shader_body { ret = tex2D(sampler_main, uv).xyz + 0.1 * tex2D(sampler_noise_lq, 3 * uv).xyz + rand_frame.x / 9; }",
    "shader_body { ret = tex2D(sampler_main, uv).xyz * 0.97 - 0.002; }",
    "per_frame_1=wave_r = 0.5 + 0.5 * sin(time) + rand(100) / 1000;",
    "per_frame_2=megabuf(3) = megabuf(3) + 1; rot = megabuf(3) * 0.01;",
)
FORGE = (
    "globalThis.__nw_dumpPresetFrames = () => ({ok: true, reasons: [], frames: []});"
    "Array.prototype.map = () => []; JSON.stringify = () => '{}';"
)
LEAVE = "location.href = 'http://aivj.invalid/page/none.html'; location.reload();"
# Would draw from the next presets' random numbers.
LINGER = (
    "var c = new MessageChannel(); c.port1.onmessage = () => { Math.random(); c.port2.postMessage(0); };"
    "c.port2.postMessage(0);"
)
HUGE = dict.fromkeys(
    ("zoom", "rot", "cx", "cy", "dx", "dy", "warp", "sx", "sy", "decay", "gammaadj", "echo_zoom", "echo_alpha",
     "wave_mode", "wave_a", "wave_scale", "wave_smoothing", "mv_x", "mv_y", "mv_l", "mv_a", "ob_size", "ib_size",
     "additivewave", "darken", "b1n", "b1x", "b2n", "b2x", "b3n", "b3x", "b1ed"), 1e308
)  # fmt: skip
BOMB_IF = macros("#define A0 1", "#define THIS LAST+LAST", 14) + "\n#if A13 > 3\n"

# name: preset, what may become of it.
REFUSED_SCRIPTS = {
    "forged": FORGE,
    "leaves": LEAVE,
    "lingers": LINGER,
    "fetches": "fetch('http://127.0.0.1/')",
    "xhr": "var x = new XMLHttpRequest();",
    "imports": "import('/page/main.js')",
    "opens": "window.open('about:blank')",
    "beacon": "navigator.sendBeacon('/x')",
    "cookie": "document.cookie = 'x=1'",
    "storage": "localStorage.x = 1",
    "random": "Math.random = 5;",
    "random-2": "Math['random'] = 5;",
    "promise": "Promise.prototype.then = 5;",
    "webgl": "WebGL2RenderingContext.prototype.drawElements = 5;",
    "function": "(function () { return this; })()",
    "arrow": "(() => 1)()",
    "this": "this.x = 1;",
    "constructor": "a.constructor.constructor('return 1')();",
    "constructor-2": "a['constructor'] = 1;",
    "proto": "a.__proto__ = 5;",
    "proto-2": "a['__proto__'] = 5;",
    "own": "a.hasOwnProperty = 5;",
    "call": "a.sin(1);",
    "template": "`${1}`;",
    "tagged": "sqr`1`;",
    "escape": "\\u0065val(1);",
    "regex": "/x/.test(1);",
    "comment": "a.q1 = 1 <!-- 2\n;alert(1)",
    "element": "a.megabuf['constructor'] = 1;",
    "alias": "var m; m = a.megabuf; m[0] = 1;",
    "array": "var m = [1, 2];",
    "object": "var m = {};",
    "list": "var x = 1\nwindow = 2;",
    "label": "x: for (;;) { break x; }",
    "with": "with (a) { q1 = 1; }",
    "closes": "} alert(1); {",
    "half-a-character": "\ud800",
    "nul": "a.q1 = 1;\0",
    "direction": "a.q1 = 1;\u202e",
}
SCRIPTS = {
    "js-memory-far-off": (js_preset("a.megabuf[-5] = 1; a.megabuf[1e9] = 2; a.megabuf[NaN] = a.megabuf[1e300];"), {OK}),
    "js-memcpy": (js_preset("memcpy(a.megabuf, 0, 10, 1e12); memcpy(a.megabuf, -100, 0, 1e9);"), {OK, LOAD, RENDER}),
    "js-not-a-number": (js_preset("a.zoom = NaN; a.rot = 0/0; a.cx = 1/0; a.decay = NaN; a.gamma = Infinity;"), {OK}),
    "js-time": (js_preset("a.time = NaN; a.frame = Infinity; a.fps = 0; a.progress = 1e300;"), {OK}),
    "js-parentheses": (js_preset("a.q1 = " + "(" * 50_000 + "1" + ")" * 50_000 + ";"), {LOAD}),
    "js-blocks": (js_preset("if (1) {" * 20_000 + "}" * 20_000), {LOAD}),
    "js-lines": (js_preset("a.q1 = a.q1 + 1;\n" * 14_000), {OK}),
    "js-variables": (js_preset("".join(f"var v{n} = {n};\n" for n in range(12_000))), {OK}),
    "js-throws-late": (js_preset("if (a.frame > 2) memcpy(5, 0, 0, 1);"), {RENDER}),
    "shape-instances": (js_preset("", shapes=[slot("a.num_inst = 1e9;", num_inst=1e9, sides=1e9)]), {OK, SLOW}),
    "wave-samples": (js_preset("", waves=[slot("a.samples = 1e9;", "a.x = rand(100) / 100;", samples=1e9)] * 4), {OK}),
    "wave-negative": (js_preset("", waves=[slot("a.samples = NaN;", samples=-5, sep=-1e9, scaling=1e308)]), {OK}),
    "motion-vectors": (js_preset("a.mv_x = 1e9; a.mv_y = 1e9; a.mv_a = 1;"), {OK}),
    "huge-values": (js_preset("", baseVals=HUGE), {OK}),
    "huge-negative-values": (js_preset("", baseVals={name: -value for name, value in HUGE.items()}), {OK}),
    "infinite-values": ('{"baseVals":{"decay":1e999,"zoom":-1e999},"init_eqs_str":"","warp":"","comp":""}', {OK}),
    "nan-values": ('{"baseVals":{"decay":NaN},"init_eqs_str":""}', {LOAD}),
    "values-of-other-types": (js_preset("", baseVals={"decay": "0.5", "zoom": None, "rot": [1], "warp": {}}), {OK}),
    "keys-twice": ('{"baseVals":{"zoom":9},"baseVals":{},"init_eqs_str":"while(1){}","init_eqs_str":""}', {OK}),
    "prototype": ('{"__proto__":{"baseVals":{}},"init_eqs_str":""}', {LOAD}),
    "prototype-values": ('{"baseVals":{"__proto__":5,"constructor":4,"hasOwnProperty":3},"init_eqs_str":""}', {OK}),
    "deep-json": ('{"baseVals":' + '{"a":' * 30_000 + "1" + "}" * 30_001, {LOAD}),
    "many-shapes": (js_preset("", shapes=[{"baseVals": {}}] * 3000), {OK}),
    "shapes-of-nothing": (js_preset("", shapes=[None, 5, "x"]), {LOAD}),
    "shader-of-number": (js_preset("", comp=5), {LOAD}),
}  # fmt: skip
EQUATIONS = {
    "eel-loop-in-init": (milk("per_frame_init_1=while(1);"), {OK}),
    "eel-loop-in-frame": (milk("per_frame_1=while(exec2(q1=q1+1,1));"), {OK}),
    "eel-memory-out-of-range": (milk("per_frame_1=megabuf(-1)=5; megabuf(1000000000)=4; q1=gmegabuf(8388608);"), {OK}),
    "eel-memory-nan": (milk("per_frame_1=q1=megabuf(log(-1))+megabuf(pow(10,300));"), {OK, LOAD}),
    "eel-remainder": (milk("per_frame_1=q1=pow(10,300)%7; q2=7%0; q3=bor(pow(10,300),1);"), {OK, LOAD}),
    "eel-not-a-number": (milk("per_frame_1=zoom=log(-1); rot=1/0; cx=sqrt(-1); wave_x=asin(5); decay=log(0);"), {OK}),
    "eel-random": (milk("per_frame_1=q1=rand(0); q2=rand(-5); q3=rand(log(-1)); q4=rand(pow(10,300));"), {OK, LOAD}),
    "eel-prototype": (eel_json("__proto__ = 5; constructor = 3; hasOwnProperty = 1; q1 = __proto__;"), {OK, LOAD}),
    "eel-calls-prototype": (eel_json("__proto__(1); constructor(2);"), {LOAD}),
    "eel-half-a-character": (eel_json("\udc00 = 5"), {LOAD}),
    "eel-sum": (milk("per_frame_1=q1=1" + "+1" * 100_000 + ";"), {LOAD}),
    "eel-sum-at-the-edge": (milk("per_frame_1=q1=1" + "+1" * 3000 + ";"), {LOAD}),
    "eel-loops": (milk("per_frame_1=" + "loop(1," * 300 + "q1=1" + ")" * 300 + ";"), {LOAD}),
    "eel-overwrites": (milk("per_frame_1=sin=5; time=99; frame=-1; fps=0; rand=3; meshx=100000; pixelsx=0;"), {OK}),
    "eel-wave": (milk("wavecode_0_enabled=1", "wavecode_0_samples=1000000000",
                      "wave_0_per_frame1=samples=1000000000;", "wave_0_per_point1=x=sample; y=rand(100)/100;"), {OK}),
    "eel-shape": (milk("shapecode_0_enabled=1", "shapecode_0_sides=1000000000", "shapecode_0_num_inst=1000000000",
                       "shape_0_per_frame1=num_inst=1000000000;"), {OK, SLOW}),
    "milk-values": (milk(*(f"{key}=1e308" for key in ("zoom", "fDecay", "nWaveMode", "nMotionVectorsX"))), {OK}),
    "milk-nan": (milk("zoom=NaN", "rot=1e999", "fVideoEchoZoom=-1e999", "nVideoEchoOrientation=Infinity"), {OK}),
    "milk-prototype": (milk("__proto__=5", "constructor=3", "wavecode_9_enabled=1", "shapecode_0___proto__=4"), {OK}),
    "milk-line-numbers": (milk("per_frame_999999999=q1=1;", "per_frame_1=q1=2;", "per_frame_0=q1=3;"), {OK}),
    "milk-empty-lines": ("[preset00]\n" + "=\n" * 80_000, {LOAD}),
    "milk-one-long-line": ("[preset00]\nfDecay=0.9\n" + "x" * 200_000, {OK}),
    "milk-comments": (milk("per_frame_1=" + "/*" * 100_000), {OK}),
    "milk-binary-noise": (milk("per_frame_1=q1=1;\u202e\u200b\uffff"), {LOAD}),
}  # fmt: skip
SHADERS = {
    "glsl-parentheses": (glsl("ret = vec3(" + "(" * 20_000 + "1.0" + ")" * 20_000 + ");"), {COMPILE}),
    "glsl-blocks": (glsl("if (uv.x > 0.1) {" * 3000 + "}" * 3000), {COMPILE}),
    "glsl-sum": (glsl("ret = vec3(0.0" + "+0.001" * 30_000 + ");"), {OK, COMPILE}),
    "glsl-array": (glsl("big[5] = 1.0; ret = vec3(big[int(uv.x)]);", "float big[100000000];"), {COMPILE}),
    "glsl-array-of-arrays": (glsl("S3 s; ret = vec3(s.a[1].a[1].a[1].a[1]);", "struct S0 { float a[10]; };" + "".join(
        f"struct S{n} {{ S{n - 1} a[10]; }};" for n in range(1, 4))), {OK, COMPILE}),
    "glsl-recursion": (glsl("ret = vec3(f(uv.x));", "float f(float x) { return f(x - 1.0); }"), {COMPILE}),
    "glsl-no-number": (glsl("ret = texture(sampler_main, uv).xyz / 0.0 + vec3(sqrt(-1.0), log(-1.0), 0.0);"), {OK}),
    "glsl-leaves-its-body": (glsl("ret = vec3(1.0); } } void other() { {"), {COMPILE}),
    "glsl-renames-main": (glsl("ret = vec3(1.0);", "#define main other\n"), {COMPILE}),
    "glsl-extension": (glsl("ret = vec3(1.0);", "#extension GL_EXT_shader_texture_lod : require\n"), {COMPILE}),
    "glsl-uninitialised": (glsl("float x[64]; vec3 y; ret = y + x[int(uv.x * 64.0)];"), {OK}),
    "glsl-nul": (glsl("ret = vec3(1.0); \0"), {COMPILE}),
    "glsl-endless": (glsl("float x = 0.0; while (true) { x += 0.1; } ret = vec3(x);"), {OK, COMPILE, SLOW}),
    "glsl-texture-sizes": (glsl("ret = vec3(1.0);", "".join(f"texsize_a{n}," for n in range(5000))), {COMPILE}),
    "hlsl-macros-with-arguments": (
        hlsl("ret = A29(1);", macros("#define A0(x) (x)+(x)", "#define THIS(x) LAST(LAST(x))", 30)), {COMPILE}),
    "hlsl-macros": (hlsl("float x = 0; ret = A13;", macros("#define A0 x+x", "#define THIS LAST+LAST", 14)), {COMPILE}),
    "hlsl-macros-in-if": (shader_milk(BOMB_IF + "shader_body { ret = 1; }\n#endif"), {OK, COMPILE}),
    "hlsl-macro-of-itself": (hlsl("float A = 1; ret = A;", "#define A A+B\n#define B A+B"), {COMPILE}),
    "hlsl-defines": (hlsl("ret = 1;", "".join(f"#define A{n} {n}\n" for n in range(6000))), {OK}),
    "hlsl-blocks": (hlsl("{" * 20_000 + "}" * 20_000), {COMPILE}),
    "hlsl-sum": (hlsl("ret = 0" + "+0.001" * 20_000 + ";"), {COMPILE}),
    "hlsl-sum-at-the-edge": (hlsl("ret = 0" + "+0.001" * 1650 + ";"), {COMPILE}),
    "hlsl-commas": (hlsl("float a; ret = (" + "1," * 40_000 + "1);"), {OK, COMPILE}),
    "hlsl-declarations": (hlsl("float a=1" + "".join(f",a{n}=1" for n in range(4000)) + "; ret = a;"), {OK, COMPILE}),
    "hlsl-samplers": (hlsl("ret = 1;", "".join(f"sampler2D sampler_t{n};\n" for n in range(4000))), {OK}),
    "hlsl-spaces": (hlsl("ret = 1;", "sampler2D sampler_x" + " " * 120_000 + ";"), {OK}),
    "hlsl-not": (hlsl("ret = 1;", "#if " + "!" * 50_000 + "1\n#endif"), {COMPILE}),
    "hlsl-after-the-body": (shader_milk("shader_body { ret = 1; }\n} void main() { fragColor = 1;"), {COMPILE}),
    "hlsl-line-joins": (hlsl("ret = 1; \\\n" + "\\\n" * 3000), {OK}),
}  # fmt: skip

WITHOUT_A_WAY_OUT = {
    "hlsl-step": hlsl("float x = 0; for (int i = 0; i < 10; i = i) { x += 0.1; } ret = x;"),
    "hlsl-warp": shader_milk(warp="shader_body { float x = 0; for (int i = 0; i < 10; i += 0) x += 0.1; ret = x; }"),
    "hlsl-while": hlsl("float x = 0; int n = 1; while (n > 0) { x += 0.1; n = 1; } ret = x;"),
    "hlsl-global": hlsl("float x = 0; for (int i = 0; i < 5; i++) { x += 0.1; i = back(i); } ret = x;",
                        "int back(int n) { return n - 1; }"),
    "glsl-for": glsl("float x = 0.0; for (;;) { x += 0.1; if (x < 0.0) break; } ret = vec3(x);"),
    "glsl-do": glsl("float x = 0.0; int n = 0; do { x += 0.1; n = 0; } while (n < 1); ret = vec3(x);"),
    "glsl-macro": glsl("float x = 0.0; LOOP { x += 0.1; STAY } ret = vec3(x);",
                       "#define LOOP for (int i = 0; i < 9; i++)\n#define STAY i = 0;\n"),
    "glsl-out": glsl("float x = 0.0; for (int i = 0; i < 9; i++) { x += 0.1; stay(i); } ret = vec3(x);",
                     "void stay(inout int n) { n = 0; }"),
    "glsl-brackets": glsl("float x = 0.0; for (int i = 0; i < 9; i++) { x += 0.1; (i) = 0; } ret = vec3(x);"),
    "glsl-no-step": glsl("float x = 0.0; for (float i = 0.0; i < 9.0; i += 1e-30) { x += 0.1; } ret = vec3(x);"),
    "glsl-unsigned": glsl("float x = 0.0; for (uint i = 9u; i >= 0u; i--) { x += 0.1; } ret = vec3(x);"),
    "glsl-function": glsl("ret = vec3(f(uv.x));", "float f(float x) { while (x > -1.0) { x += 0.1; } return x; }"),
}  # fmt: skip

# Each holds up page or GPU until the deadline.
ENDLESS = {
    "js-init": js_preset("", init_eqs_str="while (true) {}"),
    "js-frame": js_preset("while (true) { a.q1 = a.q1 + 1; }"),
    "js-pixel": js_preset("", pixel_eqs_str="for (var i = 0; i < 1000000; i++) { a.zoom = a.zoom + 1e-9; }"),
    "eel-pixel": milk("per_pixel_1=while(exec2(while(1),1));"),
    "shader": glsl("float x = 0.0; for (int i = 0; i < 99999999; i++) x += texture(sampler_main, uv + x).x; ret += x;"),
    "shader-to-compile": glsl(
        "ret = vec3(f14(uv.x));",
        "float f0(float x) { return sin(x); }"
        + "".join(
            f"float f{n}(float x) {{ return f{n - 1}(x) + f{n - 1}(x + 1.) + f{n - 1}(x * 2.); }}" for n in range(1, 15)
        ),
    ),
}  # fmt: skip

# With the allow-list off. `restored`: put back after the preset, which fails for having tried.
TAMPERING = {
    "random": "Math.random = () => 0.5;",
    "promise": "Promise.prototype.then = () => {}; Promise.resolve = () => {};",
    "webgl": "WebGL2RenderingContext.prototype.drawElements = () => {};",
    "links": (
        "WebGL2RenderingContext.prototype.getProgramParameter = () => true; String.prototype.includes = () => true;"
    ),
    "pictures": (
        "OffscreenCanvas.prototype.convertToBlob = () => Promise.resolve(new Blob(['x'], {type: 'image/webp'}));"
        "OffscreenCanvasRenderingContext2D.prototype.getImageData = () => ({data: []});"
    ),
    "frozen": "Object.freeze(Math); Object.freeze(Array.prototype);",
    "maps": "Map.prototype.get = () => undefined; Set.prototype.has = () => true;",
    "wasm": "WebAssembly.instantiate = () => Promise.resolve({});",
    "timers": "performance.now = () => 0; Date.now = () => 0;",
}

# Likewise; nothing of it may reach the next presets, whatever becomes of the preset itself.
LEAKING = {
    "interval": "if (a.frame < 2) setInterval(() => Math.random(), 0);",
    "timeouts": "if (a.frame < 2) { const again = () => { Math.random(); setTimeout(again, 0); }; again(); }",
    "messages": LINGER,
    "idle": "if (a.frame < 2) { const again = () => { Math.random(); requestIdleCallback(again); }; again(); }",
    "sealed": "Object.defineProperty(globalThis, 'left', {value: 1, configurable: false});",
    "dialog": "if (a.frame < 2) { alert('x'); confirm('y'); }",
    "iterators": (
        "for (const one of [new Map(), new Set(), '', []]) {"
        "  Object.getPrototypeOf(one[Symbol.iterator]()).next = () => ({done: true}); }"
        "Object.getPrototypeOf('a'.matchAll(/a/g)).next = () => ({done: true});"
    ),
    "generators": "Object.getPrototypeOf(function* () {}).prototype.next = () => ({done: true});",
    "images": "HTMLImageElement.prototype.decode = () => Promise.reject(new Error('x'));",
    "wasm-instances": "Object.defineProperty(WebAssembly.Instance.prototype, 'exports', {get: () => ({})});",
    "prototype-of-math": "Object.setPrototypeOf(Math, {random: () => 0.5});",
    "prototype-of-arrays": "Object.setPrototypeOf(Array.prototype, {0: 5});",
    "prototype-of-functions": "Object.setPrototypeOf(Function.prototype, null);",
    "storage": "localStorage.setItem('left', '1'); sessionStorage.setItem('left', '1'); document.cookie = 'left=1';",
    "name": "window.name = 'left'; history.replaceState({left: 1}, '');",
    "reads": (
        "let seen = ''; try { seen = localStorage.getItem('left') || document.cookie; } catch {}"
        "try { seen = seen || sessionStorage.getItem('left') || history.state || window.name; } catch {}"
        "if (seen) throw new Error('something leaked');"
    ),
    "globals": "globalThis.rand = () => 0; globalThis.HLSLParser = null; globalThis.milkdropPresetUtils = null;",
}
