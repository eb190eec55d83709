"""A shard through a real Chromium: going on where it was, and what concerns all of its presets."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from aivj_assets.errors import UserError
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.resume import finish_index
from aivj_assets.render.shard import render_shard
from aivj_assets_tests.browser.render.workers import QUICK, browser_processes

pytestmark = pytest.mark.browser


def test_the_same_shard_started_again_goes_on_where_it_was(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    for number in range(3):
        small_batch.add(f"p{number}", preset_text(""))
    shard = small_batch.plan(QUICK, browser_report.page).shards[0]
    seen: list[str] = []

    def stop_after_one() -> str | None:
        return "enough" if seen else None

    first = render_shard(
        shard,
        environment=render_environment,
        on_record=lambda record: seen.append(record.preset_id),
        should_stop=stop_after_one,
    )
    assert (first.ok, first.left, first.stop_reason) == (1, 2, "enough")
    assert not finish_index(small_batch.folder, small_batch.presets, shard.fingerprint).complete
    # finish_index has merged the log: the very same plan finds nothing of its own, a new plan knows.
    lines: list[str] = []
    second = small_batch.plan(QUICK, browser_report.page).shards[0]
    outcome = render_shard(second, environment=render_environment, say=lines.append)
    assert (outcome.ok, outcome.left, outcome.reused) == (2, 0, 0)
    third = render_shard(second, environment=render_environment)
    assert (third.ok, third.reused, third.browsers_started) == (2, 2, 0)
    assert len(lines) == 1
    assert "2/2, ok 2, failed 0" in lines[0]


def test_another_renderer_than_planned_is_refused(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    small_batch.add("p0", preset_text(""))
    page = browser_report.page.model_copy(update={"renderer": "ANGLE (NVIDIA, NVIDIA GeForce RTX 4090)"})
    shard = small_batch.plan(QUICK, page).shards[0]
    with pytest.raises(UserError, match="two renderers are never mixed"):
        render_shard(shard, environment=render_environment)
    page = browser_report.page.model_copy(update={"page_version": "0"})
    shard = small_batch.plan(QUICK, page).shards[0]
    with pytest.raises(UserError, match=r"pageVersion \w+ in place of 0"):
        render_shard(shard, environment=render_environment)
    assert small_batch.records() == {}
    if browser_report.renderer_class != "gpu":
        picky = QUICK.model_copy(update={"require_gpu": True})
        shard = small_batch.plan(picky, browser_report.page).shards[0]
        with pytest.raises(UserError, match="requireGpu is set"):
            render_shard(shard, environment=render_environment)
    assert browser_processes(psutil.Process()) == []


def test_a_browser_that_does_not_start_is_one_clear_line(render_environment: RenderEnvironment, tmp_path: Path) -> None:
    broken = tmp_path / ("chromium.bat" if sys.platform == "win32" else "chromium")
    broken.write_text("exit 1\n" if sys.platform == "win32" else "#!/bin/sh\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    with pytest.raises(UserError, match="does not start") as caught:
        describe_renderer(replace(render_environment, executable=broken), QUICK)
    assert "\n" not in str(caught.value)
    assert browser_processes(psutil.Process()) == []
