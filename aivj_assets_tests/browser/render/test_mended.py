"""Presets on the far side of what an engine bears: the same outcome each time, whatever was rendered before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets_tests.browser.render.hostile_presets import COMPILE, LOAD, eel_json, glsl, hlsl, macros, milk
from aivj_assets_tests.browser.render.workers import render
from aivj_assets_tests.conftest import js_preset

pytestmark = pytest.mark.browser

SMALL = RenderParameters(
    width=64, height=36, warmup_frames=1, capture_every=1, capture_count=1, timeout_ms=20_000, retry_times=0
)
Outcomes = dict[str, bytes | FailedRecord]


@pytest.fixture
def outcomes(
    small_batch: Any, render_environment: RenderEnvironment, browser_report: BrowserReport
) -> Callable[..., Outcomes]:
    """What becomes of presets: a picture's bytes or a failure."""

    def run(presets: dict[str, str], *, environment: RenderEnvironment = render_environment) -> Outcomes:
        for name, text in presets.items():
            suffix = ".json" if text.startswith("{") else ".milk"
            small_batch.add(name, text, rel_path=f"pack/{name}{suffix}")
        assert render(small_batch, environment, browser_report, SMALL).complete
        return {
            name: small_batch.frame_bytes(name)[0] if isinstance(record, OkRecord) else record
            for name, record in small_batch.records().items()
        }

    return run


# What follows a loop is drawn; a driver that took the loop for endless would drop it.
SHOW = "ret = vec3(0.25, 0.5, 0.75) + min(x, 0.0);"
GLSL_LOOPS = {
    "stands-still": ("for (int i = 0; i < 10; i = i) { x += 0.1; }", ""),
    "adds-nothing": ("for (int i = 0; i < 10; i += 0) x += 0.1;", ""),
    "starts-again": ("for (int i = 0; i < 3; i++) { x += 0.1; i = 0; }", ""),
    "is-sent-back": ("for (int i = 0; i < 3; i++) { x += 0.1; back(i); }", "void back(out int i) { i = 0; }"),
    "float-stalls": ("for (float f = 1e9; f < 2e9; f += 1.0) { x += 0.1; }", ""),
    "no-condition": ("for (;;) { x += 0.1; if (x < 0.0) break; }", ""),
    "while": ("while (x >= 0.0) { x += 0.1; continue; }", ""),
    "do-while": ("do { x += 0.1; } while (x >= 0.0);", ""),
    "macro": ("FOREVER x += 0.1;", "#define FOREVER while (x >= 0.0)\n"),
    "macro-in-body": ("for (int i = 0; i < 3; i++) { x += 0.1; BACK }", "#define BACK i = 0;\n"),
    "line-join": ("whi\\\nle (x >= 0.0) { x += 0.1; }", ""),
    "hidden-brace": ("for (int i = 0; i < 3; i++) { x += 0.1;\n#if 0\n}\n#endif\ni = 0; }", ""),
    "own-counter": ("int aivj_turns0 = 0; while (x >= 0.0) { x += 0.1; aivj_turns0 = 0; }", ""),
    "nested": ("while (x >= 0.0) { while (x >= 0.0) { x += 0.1; } }", ""),
}
HLSL_LOOPS = {
    "hlsl-stands-still": "for (int i = 0; i < 10; i = i) { x += 0.1; }",
    "hlsl-while": "while (x > -1) { x += 0.1; }",
    "hlsl-count": "int n; for (n = 0; n < 5; n *= 1) { x += 0.1; }",
}


def test_a_shader_loop_without_an_end_is_ended(outcomes: Callable[..., Outcomes]) -> None:
    presets = {"none": glsl(f"float x = 0.0; {SHOW}")}
    for name, (loop, before) in GLSL_LOOPS.items():
        presets[name] = glsl(f"float x = 0.0; {loop}\n{SHOW}", before)
    for name, loop in HLSL_LOOPS.items():
        presets[name] = hlsl(f"float x = 0; {loop} {SHOW.replace('vec3', 'float3')}")
    found = outcomes(presets)
    picture = found.pop("none")
    assert isinstance(picture, bytes)
    assert {name: outcome for name, outcome in found.items() if name in GLSL_LOOPS and outcome != picture} == {}
    hlsl_pictures = [found[name] for name in HLSL_LOOPS]
    assert isinstance(hlsl_pictures[0], bytes)
    assert hlsl_pictures == [hlsl_pictures[0]] * len(HLSL_LOOPS)


def test_a_shader_loop_that_ends_turns_as_often_as_it_says(outcomes: Callable[..., Outcomes]) -> None:
    turns = {
        "counted": "for (int i = 0; i < 5; i++) x += 0.1;",
        "float": "for (float f = 1.0; float(f) <= 5.0; f += 1.0) { x += 0.1; }",
        "down": "for (int i = 4; i >= 0; --i) { x += 0.1; }",
        "to-a-variable": "int n = 5; for (int i = 0; i < n; i++) { x += 0.1; }",
        "while": "int i = 0; while (i < 5) { x += 0.1; i++; }",
        "do": "int i = 0; do { x += 0.1; i++; } while (i < 5);",
        "left": "for (int i = 0; ; i++) { if (i == 5) break; x += 0.1; }",
        "many-skipped": "int i = -10000; while (i < 5) { i++; if (i <= 0) continue; x += 0.1; }",
        "macro": "for (int i = 0; i < COUNT; i++) { x += 0.1; }",
    }
    added = "float x = 0.0; for (int i = 0; i < 0; i++) { x = 9.0; } " + "x += 0.1; " * 5 + "ret = vec3(x);"
    presets = {name: glsl(f"float x = 0.0; {loop} ret = vec3(x);", "#define COUNT 5\n") for name, loop in turns.items()}
    found = outcomes({"added": glsl(added), **presets})
    assert isinstance(found["added"], bytes)
    assert {name: outcome for name, outcome in found.items() if outcome != found["added"]} == {}


def test_macros_that_grow_are_refused(outcomes: Callable[..., Outcomes]) -> None:
    doubling = macros("#define A0 x+x", "#define THIS LAST+LAST+LAST+LAST", 40)
    squared = "#define A(x) " + "x " * 30_000 + "\n#define B " + "1+" * 30_000
    found = outcomes(
        {
            "body": hlsl("float x = 0; ret = A39;", doubling),
            "condition": hlsl("ret = 1;", f"{doubling}\n#if A29 > 3\n#endif"),
            "argument": hlsl(f"ret = A({'1+' * 30_000});", squared),
            "glsl": glsl("float x = 0.0; for (;;) { ret = vec3(A39); }", f"{doubling}\n"),
        }
    )
    for name, record in found.items():
        assert isinstance(record, FailedRecord), name
        assert record.reasons == [COMPILE]
        assert "macros grow without end" in (record.error_text or ""), (name, record)


def test_equations_go_on_with_numbers_that_no_integer_holds(outcomes: Callable[..., Outcomes]) -> None:
    def shown(equations: str) -> str:
        return milk("ob_size=0.4", "ob_a=1", f"per_frame_1={equations}", "per_frame_2=ob_r=r; ob_g=g; ob_b=b;")

    start = "gmegabuf(0)=0.9; megabuf(0)=0.9; megabuf(3)=0.2; inf=pow(10,300); nan=log(-1);"
    found = outcomes(
        {
            "plain": shown("r=0; g=0.25; b=0.5;"),
            "index": shown(f"{start} r=megabuf(nan)+gmegabuf(inf)+megabuf(-inf); g=0.25; b=0.5;"),
            "written": shown(f"{start} megabuf(nan)=1; megabuf(inf)+=1; r=megabuf(0)-0.9; g=0.25; b=0.5;"),
            "remainder": shown("r=log(-1)%7; g=0.25+5%log(-1); b=0.5*above(pow(10,300)%7,-1);"),
            "bits": shown("r=log(-1)&3; g=0.25*(log(-1)|1); b=0.5*above(pow(10,300)|1,1000);"),
            "usual": shown(f"{start} r=megabuf(-1)-0.9; g=(17%5+(6&3)+(-7%5)+2)/16; b=((4|1)-megabuf(3.7)*20)/2;"),
        }
    )
    assert isinstance(found["plain"], bytes)
    assert {name: outcome for name, outcome in found.items() if outcome != found["plain"]} == {}


NESTED: dict[str, Callable[[int], str]] = {
    "eel-sum": lambda n: eel_json("q1=1" + "+1" * n + ";"),
    "eel-calls": lambda n: eel_json("q1=" + "sin(" * n + "1" + ")" * n + ";"),
    "eel-blocks": lambda n: eel_json("q1=" + "(" * n + "1;1" + ";1)" * n + ";"),
    "eel-loops": lambda n: eel_json("loop(1," * (n // 6) + "q1=1" + ")" * (n // 6) + ";"),
    "hlsl-sum": lambda n: hlsl("ret = 0" + "+0.001" * n + ";"),
    "hlsl-parentheses": lambda n: hlsl("ret = " + "(" * n + "1" + ")" * n + ";"),
    "hlsl-condition": lambda n: hlsl("ret = 1;", "#if " + "(" * (n // 5) + "1" + ")" * (n // 5) + "\n#endif"),
    "js-sum": lambda n: js_preset("a.q1 = 1" + "+1" * n + ";"),
    "js-else": lambda n: js_preset("if (a.q1) a.q1 = 1; else " * (n // 2) + "a.q1 = 1;"),
    "js-ifs": lambda n: js_preset("if (1) " * n + "a.q1 = 1;"),
}


def test_deep_nesting_is_refused_by_a_count(outcomes: Callable[..., Outcomes]) -> None:
    presets = {f"deep-{name}": make(900) for name, make in NESTED.items()}
    presets |= {f"fair-{name}": make(450) for name, make in NESTED.items()}
    # Neither comments nor many statements are nested.
    presets["fair-comments"] = eel_json("q1=1; /* " + "+(" * 900 + " */ //" + "-" * 900 + "\nq2=2;")
    presets["fair-statements"] = eel_json("q1=q1+1;" * 2000)
    presets["long"] = eel_json("q1=1;" * 50_000)
    found = outcomes(presets)
    refused = {name: outcome for name, outcome in found.items() if isinstance(outcome, FailedRecord)}
    assert [name for name in refused if name.startswith("fair")] == []
    for name in NESTED:
        record = found[f"deep-{name}"]
        assert isinstance(record, FailedRecord), name
        assert record.reasons == [COMPILE if name.startswith("hlsl") else LOAD]
        assert "nested too deeply" in (record.error_text or "")
    assert isinstance(found["long"], FailedRecord)
    assert "too long" in (found["long"].error_text or "")


# With the allow-list off. Each would be seen by the presets after it.
LEFT_BEHIND = {
    "map-iterator": "Object.getPrototypeOf(new Map()[Symbol.iterator]()).next = () => ({done: true});",
    "text-iterator": "Object.getPrototypeOf(''[Symbol.iterator]()).next = () => ({done: true});",
    "match-iterator": "Object.getPrototypeOf(''.matchAll(/x/g)).next = () => ({done: true});",
    "generator": "Object.getPrototypeOf(Object.getPrototypeOf((function* () {})())).next = 5;",
    "image": "HTMLImageElement.prototype.decode = () => { throw new Error('no image'); };",
    "wasm-instance": "Object.defineProperty(WebAssembly.Instance.prototype, 'exports', {get() { return {}; }});",
    "wasm-memory": "Object.defineProperty(WebAssembly.Memory.prototype, 'buffer', {get() { return null; }});",
    "math-prototype": "Object.setPrototypeOf(Math, {});",
    "array-prototype": "Object.setPrototypeOf(Array.prototype, {0: 5});",
    "function-prototype": "Object.setPrototypeOf(Function.prototype, {});",
    "notes": "Math.sin.note = 5; Promise.prototype.then.note = 5; Intl.note = 5;",
    "channel": "var c = new MessageChannel(); c.port1.onmessage = () => { Math.random(); c.port2.postMessage(0); };"
    "c.port2.postMessage(0);",
    "message": "onmessage = () => { Math.random(); postMessage(0); }; postMessage(0);",
    "idle": "var f = () => { Math.random(); requestIdleCallback(f); }; f();",
    "interval": "setInterval(() => Math.random(), 0);",
    "observer": "var o = new MutationObserver(() => { Math.random(); document.title += 1; });"
    "o.observe(document.head, {childList: true, subtree: true}); document.title = 'x';",
    "storage": "localStorage.note = 5;",
    "session-storage": "sessionStorage.note = 5;",
    "cookie": "document.cookie = 'note=5'; if (!document.cookie) throw new Error('no cookies');",
    "history": "history.replaceState(5, '');",
    "open": "open('about:blank');",
}
FIND_NOTES = (
    "var found = Math.sin.note || Promise.prototype.then.note || Intl.note || globalThis.name;"
    "var kept = globalThis.localStorage || {}; found = found || kept.note;"
    "if (found || document.cookie) throw new Error('found a note');"
)


def test_nothing_is_left_for_the_next_preset(
    outcomes: Callable[..., Outcomes], lax_environment: RenderEnvironment
) -> None:
    good = js_preset("a.wave_r = 0.5 + 0.5 * Math.sin(a.time) + rand(100) / 1000;", init_eqs_str=FIND_NOTES)
    good_milk = milk("per_frame_1=wave_r=rand(100)/100; megabuf(1)=megabuf(1)+1; wave_x=megabuf(1)*0.1;")
    presets = {"good": good, "good-milk": good_milk}
    for name, text in (LEFT_BEHIND | {"name": "globalThis.name = 'note';"}).items():
        presets |= {name: js_preset("", init_eqs_str=text), f"after-{name}": good, f"milk-after-{name}": good_milk}
    found = outcomes(presets, environment=lax_environment)
    assert isinstance(found["good"], bytes)
    assert isinstance(found["good-milk"], bytes)
    for name in [*LEFT_BEHIND, "name"]:
        assert found[f"after-{name}"] == found["good"], name
        assert found[f"milk-after-{name}"] == found["good-milk"], name
    for name in ("math-prototype", "array-prototype", "function-prototype"):
        record = found[name]
        assert isinstance(record, FailedRecord), name
        assert "tampered with" in (record.error_text or "")
