"""What the diary says of a batch."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.run_meta import QaVerdict
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.report.console import summarise_batch
from aivj_assets.report.diary import DiaryFacts, changed_parameters, diary_section, diary_todo, gate_text, plain
from aivj_assets_tests.builders import write_batch, write_frames_meta, write_index, write_manifest

KEY = BatchKey("big", "batch-0001")
IDS = [f"p{number:03d}" for number in range(20)]
MADE = frozenset({"presets", "frames", "embeddings", "clusters"})


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path)


def told(**facts: Any) -> str:
    return "\n".join(diary_section(DiaryFacts(KEY, **facts)))


def test_an_accepted_batch_is_told_with_its_figures(root: DataRoot) -> None:
    write_batch(root, KEY.key)
    write_frames_meta(root, KEY.key, warmup_frames=90, timeout_ms=45_000)
    links = {"QA page": "artifacts/aivj/big/batch-0001/qa-samples/index.html"}
    text = told(state="accepted", at="2026-01-31T12:00:00Z", summary=summarise_batch(root, KEY), made=MADE, links=links)
    fingerprint = FramesMeta.load(root.batch(KEY).frames_meta).fingerprint
    assert text.splitlines() == [
        "## big/batch-0001: accepted",
        "",
        "- state: accepted, 2026-01-31T12:00:00Z",
        "- presets: 20 in the manifest",
        "- rendered: 20 ok, 0 failed",
        "- first frames: 20 different, topSame 1 of 20",
        "- avgLuma: 0.1 to 0.8",
        "- motion: 0.01 to 0.4",
        f"- rendering: fingerprint {fingerprint}; warmupFrames 90, timeoutMs 45000; renderer llvmpipe: llvmpipe (test)",
        "- embedding: test-model (test-weights, weights 00000000, 3 frames a preset), 8 dimensions, 20 presets",
        "- k: 2 (as asked)",
        "- QA: open",
        "- files: [QA page](artifacts/aivj/big/batch-0001/qa-samples/index.html)",
        "",
        "| gate | value | required | verdict |",
        "| --- | --- | --- | --- |",
        "| ok_rate | 1 | >= 0.95 | passed |",
        "| top_same | 0.05 | &lt; 0.2 | passed |",
        "| luma_range | 0.7 | > 0.3 | passed |",
        "| motion_range | 0.39 | > 0.05 | passed |",
    ]


def test_a_rejected_batch_says_which_gates_and_what_to_try(root: DataRoot) -> None:
    write_manifest(root, KEY.key, IDS)
    write_index(root, KEY.key, IDS, same_first_frame=IDS[2:], failed=dict.fromkeys(IDS[:2], "shader-compile-failed"))
    found = summarise_batch(root, KEY)
    failed = {verdict.gate.name: gate_text(verdict) for verdict in found.verdicts if not verdict.passed}
    facts = {"state": "rejected", "rejections": failed, "summary": found, "made": frozenset({"presets", "frames"})}
    assert diary_todo(DiaryFacts(KEY, **facts)).startswith(  # type: ignore[arg-type]
        "- [ ] big/batch-0001: gates failed: ok_rate 0.9 (required >= 0.95); to try: look at the failure reasons"
    )
    text = told(**facts)
    assert "top_same 1 (required &lt; 0.2); to try: warmupFrames 90 or captureEvery 60" in text
    assert "- failure reasons: shader-compile-failed 2" in text
    assert "- first frames: 1 different, topSame 18 of 18" in text
    assert "| top_same | 1 | &lt; 0.2 | failed |" in text
    other = DiaryFacts(KEY, "rejected", rejections={"frozen_card": "frozen_card: another model"})
    assert diary_todo(other) == "- [ ] big/batch-0001: rejected: frozen_card: another model"


def test_an_incomplete_batch_says_how_far_it_is_and_shows_no_verdict(root: DataRoot) -> None:
    write_manifest(root, KEY.key, IDS)
    write_index(root, KEY.key, IDS[:5])
    found = summarise_batch(root, KEY)
    facts = DiaryFacts(KEY, "incomplete", summary=found, made=frozenset({"presets"}))
    assert diary_todo(facts) == (
        "- [ ] big/batch-0001: incomplete, 5 of 20 presets have a record; go on with: aivj run big/batch-0001"
    )
    text = "\n".join(diary_section(facts))
    assert "- presets: 20 in the manifest, 5 have a record so far" in text
    assert "ok_rate" not in text
    assert "rendered" not in text


@pytest.mark.parametrize(
    ("qa", "line"),
    [
        (QaVerdict(), "- [ ] big/batch-0001: QA open"),
        (QaVerdict(state="reviewed", verdict="good"), "- [x] big/batch-0001: QA good"),
        (
            QaVerdict(
                state="reviewed", verdict="mixed", reviewer="Anna", reviewed_at="2026-02-01", note="c03\nis *dark*"
            ),
            "- [x] big/batch-0001: QA mixed by Anna, 2026-02-01: c03 is \\*dark\\*",
        ),
    ],
)
def test_the_task_is_ticked_when_a_person_has_judged(qa: QaVerdict, line: str) -> None:
    assert diary_todo(DiaryFacts(KEY, "accepted", qa=qa)) == line
    assert f"- {line.partition(': ')[2].replace('QA ', 'QA: ', 1)}" in told(state="accepted", qa=qa)


def test_other_states_are_told_with_the_reason() -> None:
    stale = DiaryFacts(KEY, "not accepted", why="'clusters': it is stale")
    assert diary_todo(stale) == "- [ ] big/batch-0001: not accepted: 'clusters': it is stale"
    unreadable = DiaryFacts(KEY, "unreadable", why="C:\\x is not JSON")
    assert diary_todo(unreadable) == "- [ ] big/batch-0001: cannot be read: C:\\\\x is not JSON"
    gone = DiaryFacts(KEY, "accepted", removed="too dark")
    assert diary_todo(gone) == "- [x] big/batch-0001: removed from its lineage: too dark"


def test_the_commonest_reasons_are_shown_and_foreign_ones_break_nothing(root: DataRoot) -> None:
    write_manifest(root, KEY.key, IDS)
    reasons = {
        preset_id: f"odd | <b>{number}</b>\n<!-- /aivj:batch big -->" for number, preset_id in enumerate(IDS[:12])
    }
    write_index(root, KEY.key, IDS, failed=reasons)
    text = told(state="rejected", summary=summarise_batch(root, KEY), made=MADE)
    (line,) = [line for line in text.splitlines() if line.startswith("- failure reasons")]
    assert line.count("odd") == 10
    assert "<b>" not in text
    assert "<!--" not in text
    assert "odd \\| &lt;b>0&lt;/b>" in line


@given(st.text())
def test_any_text_is_one_line_without_markup(text: str) -> None:
    shown = plain(text)
    assert len(shown.splitlines()) <= 1
    assert "<" not in shown
    unescaped = shown.replace("\\\\", "")
    assert all(unescaped[at - 1] == "\\" for at, letter in enumerate(unescaped) if at and letter in "|*`[]")
    shown.encode()


def test_names_stay_readable() -> None:
    assert plain("top_same of batch-0001") == "top_same of batch-0001"
    assert plain("_x_ & <y>") == "\\_x\\_ &amp; &lt;y>"


def test_only_parameters_that_are_no_defaults_are_shown() -> None:
    assert changed_parameters({"warmupFrames": 60, "engine": "butterchurn", "probeUrl": None, "presetDelayMs": 0}) == {}
    page = "http://127.0.0.1:5174/preset-probe.html"
    assert changed_parameters({"probeUrl": page, "presetDelayMs": 200}) == {"probeUrl": page}
