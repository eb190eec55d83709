"""Presets that mean harm, each followed by a harmless one whose frames must be those that it has alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aivj_assets.contracts.frames_index import REASON_CODES, FailedRecord, OkRecord
from aivj_assets.render import session as session_module
from aivj_assets.render import shard as shard_module
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets_tests.browser.render.hostile_presets import (
    COMPILE,
    ENDLESS,
    EQUATIONS,
    FORGE,
    GOOD_JSON,
    GOOD_MILK,
    LEAKING,
    LEAVE,
    LOAD,
    OK,
    REFUSED_SCRIPTS,
    SCRIPTS,
    SHADERS,
    SLOW,
    TAMPERING,
    WITHOUT_A_WAY_OUT,
)
from aivj_assets_tests.browser.render.workers import QUICK, render
from aivj_assets_tests.conftest import js_preset

pytestmark = pytest.mark.browser


@pytest.fixture
def try_presets(
    small_batch: Any, render_environment: RenderEnvironment, browser_report: BrowserReport
) -> Callable[..., dict[str, OkRecord | FailedRecord]]:
    """Render presets with a harmless one after every `every`-th; returns the records of the presets."""

    def run(
        presets: dict[str, str],
        *,
        environment: RenderEnvironment = render_environment,
        every: int = 1,
        **changes: Any,
    ) -> dict[str, OkRecord | FailedRecord]:
        harmless = {"json": GOOD_JSON, "milk": GOOD_MILK}
        kinds: dict[str, str] = {}
        for kind, text in harmless.items():
            small_batch.add(f"good-{kind}", text, rel_path=f"pack/good.{kind}")
        for number, (name, text) in enumerate(presets.items()):
            suffix = ".json" if text.startswith("{") else ".milk"
            small_batch.add(name, text.encode("utf-8", errors="replace"), rel_path=f"pack/{name}{suffix}")
            if number % every == 0:
                kind = kinds[name] = list(harmless)[number // every % 2]
                small_batch.add(f"after-{name}", harmless[kind], rel_path=f"pack/after-{name}.{kind}")
        parameters = QUICK.model_copy(update=changes)
        assert render(small_batch, environment, browser_report, parameters).complete
        records: dict[str, OkRecord | FailedRecord] = small_batch.records()
        for name, kind in kinds.items():
            assert isinstance(records[f"after-{name}"], OkRecord), (name, records[f"after-{name}"])
            assert small_batch.frame_bytes(f"after-{name}") == small_batch.frame_bytes(f"good-{kind}"), name
        for record in records.values():
            if isinstance(record, FailedRecord):
                assert set(record.reasons) <= set(REASON_CODES)
                assert record.error_text
                assert not small_batch.folder.frame_folder(shard_module.id_hash(record.preset_id)).exists()
        return {name: records[name] for name in presets}

    return run


def check_fates(records: dict[str, OkRecord | FailedRecord], expected: dict[str, tuple[str, set[str]]]) -> None:
    fates = {name: OK if isinstance(record, OkRecord) else record.reasons[0] for name, record in records.items()}
    wrong = {name: (fate, records[name]) for name, fate in fates.items() if fate not in expected[name][1]}
    assert wrong == {}


@pytest.mark.parametrize("presets", [SCRIPTS, EQUATIONS, SHADERS], ids=["scripts", "equations", "shaders"])
def test_the_batch_goes_on(try_presets: Callable[..., Any], presets: dict[str, tuple[str, set[str]]]) -> None:
    records = try_presets({name: text for name, (text, _) in presets.items()})
    check_fates(records, presets)


def test_scripts_that_are_not_let_in(try_presets: Callable[..., Any]) -> None:
    records = try_presets({name: js_preset(text) for name, text in REFUSED_SCRIPTS.items()}, every=8)
    assert {name: record.reasons for name, record in records.items()} == {name: [LOAD] for name in REFUSED_SCRIPTS}
    for name, word in {"forged": "globalThis", "leaves": "location", "lingers": "new"}.items():
        assert f"not allowed in a preset's equations: {word}" in records[name].error_text


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little patience with a page beyond its own deadline."""
    monkeypatch.setattr(shard_module, "outer_timeout_s", lambda timeout_ms: timeout_ms / 1000 + 0.5)
    monkeypatch.setattr(session_module, "_FRESH_PAGE_TIMEOUT_S", 4.0)


@pytest.mark.usefixtures("hurried")
def test_what_never_ends_is_ended(try_presets: Callable[..., Any]) -> None:
    records = try_presets(ENDLESS, timeout_ms=2000)
    # On a GPU the driver may reset itself before the deadline.
    legal = {"watchdog", "probe-timeout", "context-lost", "probe-error"}
    assert {name for name, record in records.items() if record.status == OK or record.reasons[0] not in legal} == set()
    assert [records[name].reasons for name in ("js-init", "js-frame", "js-pixel")] == [["watchdog"]] * 3


def test_shader_loops_without_a_way_out_are_bounded(try_presets: Callable[..., Any]) -> None:
    # A driver may drop what follows such a loop and show whatever lay in its registers. Bounded, each of them adds up
    # to white.
    records = try_presets(WITHOUT_A_WAY_OUT, width=32, height=32, every=4)
    shown = {name: record.metrics.avg_luma for name, record in records.items() if isinstance(record, OkRecord)}
    assert {name: luma for name, luma in shown.items() if luma < 0.95} == {}
    failed = {name: record.reasons for name, record in records.items() if name not in shown}
    assert {name: reasons for name, reasons in failed.items() if reasons not in ([COMPILE], [SLOW])} == {}
    assert len(shown) >= 6


def test_names_that_mean_something_elsewhere(
    small_batch: Any, render_environment: RenderEnvironment, browser_report: BrowserReport
) -> None:
    names = ["__proto__", "constructor", "hasOwnProperty", "naïve ☃ \u202e", "line\nbreak\ttab", "a" * 400, "..", "0"]
    for number, name in enumerate(names):
        small_batch.add(name, GOOD_JSON, rel_path=f"pack/ünï #%20 'p' {number}.json")
    finished = render(small_batch, render_environment, browser_report, QUICK)
    assert (finished.ok, finished.complete) == (len(names), True), small_batch.records()
    assert list(small_batch.records()) == names
    frames = [small_batch.frame_bytes(name) for name in names]
    assert frames == [frames[0]] * len(names)


def test_files_that_are_no_presets(
    small_batch: Any, render_environment: RenderEnvironment, browser_report: BrowserReport
) -> None:
    small_batch.add("not-json", "{ no preset")
    small_batch.add("list", "[]")
    small_batch.add("empty", b"")
    small_batch.add("binary", b"[preset00]\0\0")
    small_batch.add("missing", None)
    small_batch.add("escaping", None, rel_path="../../../secret.json")
    small_batch.add("large", b" " * 10_000_000)
    small_batch.add("good", GOOD_JSON)
    finished = render(small_batch, render_environment, browser_report, QUICK)
    assert (finished.complete, finished.ok, finished.total) == (True, 1, 8)
    reasons = {key: record.reasons for key, record in small_batch.records().items() if record.status != OK}
    assert reasons == {
        "not-json": [LOAD],
        "list": [LOAD],
        "empty": ["empty"],
        "binary": ["binary-nul"],
        "missing": ["read-failed"],
        "escaping": ["read-failed"],
        "large": ["read-failed"],
    }


@pytest.mark.usefixtures("hurried")
def test_what_gets_past_the_allow_list_meets_further_walls(
    try_presets: Callable[..., Any], lax_environment: RenderEnvironment
) -> None:
    tampering = {name: js_preset("", init_eqs_str=text) for name, text in TAMPERING.items()}
    tampering["lies"] = js_preset("", init_eqs_str=TAMPERING["links"], comp="shader_body { ret = nonsense; }")
    others = {
        "forged": js_preset(FORGE),
        "leaves": js_preset(LEAVE),
        "throws": js_preset("if (a.frame > 2) throw new Error('boom');"),
        "throws-nothing": js_preset("if (a.frame > 2) throw null;"),
        "throws-a-trap": js_preset("if (a.frame > 2) throw {get name() { throw 1; }, toString() { throw 2; }};"),
    }
    records = try_presets(tampering | others, environment=lax_environment, timeout_ms=2000)
    for name in [*tampering, "forged"]:
        assert records[name].reasons == ["probe-error"], records[name]
    assert "tampered with" in records["lies"].error_text
    for name in ("throws", "throws-nothing", "throws-a-trap"):
        assert records[name].reasons == ["render-failed"], records[name]
    assert "boom" in records["throws"].error_text


@pytest.mark.usefixtures("hurried")
def test_nothing_leaks_past_the_allow_list(try_presets: Callable[..., Any], lax_environment: RenderEnvironment) -> None:
    presets = {name: js_preset(text) for name, text in LEAKING.items()}
    records = try_presets(presets, environment=lax_environment, timeout_ms=3000, warmup_frames=14)
    assert "leaked" not in (records["reads"].to_json().get("errorText") or "")


def test_a_preset_that_ends_two_browsers_is_quarantined(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "_MEMORY_LIMIT_BYTES", 700 * 2**20)
    hog = "for (var b = 0; true; b++) a.megabuf[b] = b;"
    small_batch.add("good", preset_text(""))
    small_batch.add("hog", preset_text(hog))
    small_batch.add("last", preset_text(""))
    parameters = QUICK.model_copy(update={"retry_times": 5})
    finished = render(small_batch, render_environment, browser_report, parameters)
    assert (finished.ok, finished.failed) == (2, 1)
    assert small_batch.frame_bytes("last") == small_batch.frame_bytes("good")
    record = small_batch.records()["hog"]
    assert isinstance(record, FailedRecord)
    assert record.reasons == ["probe-error"]
    assert "quarantined after ending 2 browsers" in (record.error_text or "")
    assert "memory" in (record.error_text or "")
    # A later run lets it be, unless it is told to try again.
    assert small_batch.plan(parameters, browser_report.page).pending == ()
    again = small_batch.plan(parameters, browser_report.page, retry_failed=True).pending
    assert [preset.preset_id for preset in again] == ["hog"]
