from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.bench.scale.growth import growth_of
from aivj_assets.orchestration.bench.scale.memory import MemoryWatch
from aivj_assets.orchestration.bench.scale.pictures import draw, preset_text
from aivj_assets.orchestration.bench.scale.rehearse import ScaleBatch, ScaleOptions, ScaleState
from aivj_assets.orchestration.bench.scale.report import find_bounds, growth, idle_fraction, super_linear
from aivj_assets.orchestration.bench.scale.run_times import step_name
from aivj_assets.orchestration.bench.scale.stand_in import stand_in_environment
from aivj_assets.render.answer import RefusedPreset, RenderedPreset, judge_answer
from aivj_assets.render.probe import build_payload, describe_renderer
from aivj_assets.render.session import RenderSession

SMALL = RenderParameters(out_size=64)
SIZES = [1000 * number for number in range(1, 14)]


def batch(presets: int, **figures: object) -> ScaleBatch:
    told = {
        "batch": f"scale/batch-{presets:06d}", "library_presets": presets, "presets": 1000, "reused": 0, "ok": 990,
        "wall_s": 60, "run_s": 50, "publication_s": 5, "diary_s": 0.1, "gate_report_s": 0.1, "idle_s": 5, "cpu_s": 40,
        "shards": 10, "events": 600, "stages": {"clusters": 2.0}, "peaks": {"clusters": 300_000_000}, "sizes": {},
    }  # fmt: skip
    return ScaleBatch.model_validate({**told, **figures})


def state(batches: list[ScaleBatch]) -> ScaleState:
    return ScaleState(options={}, browsers=2, batches=batches)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5, 2.0])
def test_the_exponent_of_a_power_is_found(exponent: float) -> None:
    found = growth_of(SIZES, [3e-4 * size**exponent for size in SIZES])
    assert found.exponent == pytest.approx(exponent, abs=1e-6)
    assert found.last == pytest.approx(3e-4 * 13_000**exponent)


def test_a_line_with_a_base_is_told_by_its_slope() -> None:
    found = growth_of(SIZES, [20 + 0.004 * size for size in SIZES])
    assert found.per_thousand == pytest.approx(4)
    assert found.line_r2 == pytest.approx(1)
    assert found.exponent is not None
    assert 0 < found.exponent < 1


def test_two_points_have_no_growth() -> None:
    found = growth_of([1000, 2000], [1.0, 2.0])
    assert (found.exponent, found.per_thousand, found.last) == (None, None, 2.0)


def test_a_step_that_grows_with_the_square_is_named_and_a_linear_one_is_not() -> None:
    batches = [
        batch(size, stages={"clusters": 1e-6 * size**2, "publication": 2e-3 * size, "qa_samples": 7.0})
        for size in SIZES
    ]
    assert super_linear(growth(batches)) == ["clusters s (n^2.00)"]
    assert super_linear(growth(batches[:3])) == []


def test_idle_time_counts_against_real_rendering_on_the_browsers_at_once() -> None:
    # 2 x 1000 presets of 0.93 s on two browsers are 930 s; a batch that was resumed does not count.
    assert idle_fraction(state([batch(1000, idle_s=9.3), batch(2000, idle_s=27.9)])) == pytest.approx(0.04)
    assert idle_fraction(state([batch(1000, idle_s=9.3), batch(2000, idle_s=500, reused=3)])) == pytest.approx(0.02)


def test_bounds_hold_or_not_and_the_largest_process_is_named() -> None:
    good = state([batch(size) for size in SIZES])
    assert [bound.holds for bound in find_bounds(good, growth(good.batches), {})] == [True, True, True]
    bad = state([batch(size, idle_s=15, peaks={"publication": 1_800_000 * size // 10}) for size in SIZES])
    idle, memory, steep = find_bounds(bad, growth(bad.batches), {"ui": {"peakBytes": 100}})
    assert (idle.holds, idle.measured) == (False, "3.2%")
    assert (memory.holds, memory.measured) == (False, "2,340 MB (publication)")
    assert steep.holds  # Linear, only too steep.


def test_all_checks_are_one_row_and_so_are_all_shards() -> None:
    assert step_name("frames.render_shard[s0001_0bebb23e]") == "frames.render_shard"
    assert step_name("frames_gates") == step_name("clusters_contract") == "checks"
    assert step_name("publication") == "publication"


def test_the_stand_in_is_rendered_with_as_a_browser_is() -> None:
    environment = stand_in_environment()
    report = describe_renderer(environment, SMALL)
    assert report.renderer_class == "software"
    lumas, motions, firsts, refused = [], [], set(), 0
    with RenderSession(environment, SMALL) as session:
        assert session.describe() == report
        for number in range(201):
            payload = build_payload(SMALL, "x.milk", preset_text(number))
            made = judge_answer(session.dump(payload, 30), SMALL)
            if isinstance(made, RefusedPreset):
                refused += 1
                continue
            assert isinstance(made, RenderedPreset)
            firsts.add(made.frames[0])
            lumas.append(made.figures.avg_luma)
            motions.append(made.figures.motion)
        session.recover()
        assert session.recover(replace_browser=True) == "browser"
    assert refused == 3
    # No two alike, and as wide apart as the gates ask.
    assert len(firsts) == len(lumas) == 198
    assert max(lumas) - min(lumas) > 0.3
    assert max(motions) - min(motions) > 0.05


def test_presets_of_a_style_look_more_alike_than_others() -> None:
    texts = [preset_text(number) for number in range(400)]
    pictures = np.array([draw(text, 32, 1)[0].ravel() for text in texts], np.float64)
    pictures -= pictures.mean(axis=0)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    styles = np.array([text.partition("style=")[2].partition("\n")[0] for text in texts])
    likeness, same = pictures @ pictures.T, styles[:, None] == styles[None, :]
    np.fill_diagonal(same, val=False)
    assert likeness[same].mean() > 0.2 > abs(likeness[~same & ~np.eye(400, dtype=bool)].mean()) + 0.1


def test_the_same_preset_gives_the_same_pictures() -> None:
    first, again = (draw(preset_text(5), 48, 3) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])


def test_a_folder_of_something_else_and_a_library_of_another_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").touch()
    options = ScaleOptions(2, 30, 64)
    with pytest.raises(UserError, match="is not empty"):
        ScaleState.of_root(DataRoot(tmp_path / "mine"), options)
    made = ScaleState.of_root(DataRoot(tmp_path / "new"), options)
    assert ScaleState.of_root(DataRoot(tmp_path / "new"), options) == made
    with pytest.raises(UserError, match=r"another size .*batch_size 30"):
        ScaleState.of_root(DataRoot(tmp_path / "new"), ScaleOptions(2, 40, 64))


def test_memory_of_a_child_that_gave_it_back_is_still_its_peak() -> None:
    code = "x = bytearray(150_000_000); del x; print('given back', flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        watch = MemoryWatch(psutil.Process())
        watch.look()
    finally:
        child.communicate("\n", timeout=30)
    assert os.getpid() in watch.peaks
    if sys.platform in {"linux", "win32"}:
        assert watch.peaks[child.pid] > 150_000_000
