"""Announced workers and the renderer of a pack."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.fleet import announce
from aivj_assets.orchestration.fleet.announce import (
    ALIVE_S,
    announced,
    differing_versions,
    living_workers,
    seen_workers,
    this_worker,
    workers_dir,
)
from aivj_assets.orchestration.fleet.renderers import decide_renderer, pack_renderer, renderer_file, require_renderer
from aivj_assets_tests.builders import PAGE, write_frames_meta, write_index, write_manifest


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path)


@contextmanager
def worker(root: DataRoot, renderer: str | None, name: str = "render-1@here") -> Iterator[None]:
    kind = (renderer, "llvmpipe") if renderer else None
    with announced(root, name=name, queues=["render"], concurrency=2, renderer=kind):
        yield


def test_a_worker_is_announced_while_it_works_and_not_after(root: DataRoot) -> None:
    with worker(root, "llvmpipe"):
        [seen] = seen_workers(root)
        assert seen.alive
        assert (seen.worker.renderer, seen.worker.concurrency, seen.worker.pid) == ("llvmpipe", 2, os.getpid())
        assert this_worker() is not None
        assert [each.name for each in living_workers(root, "render")] == ["render-1@here"]
        assert living_workers(root, "embed") == []
    assert seen_workers(root) == []
    assert this_worker() is None


def test_a_worker_renews_its_announcement(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce, "BEAT_S", 0.05)
    with worker(root, None):
        deadline = time.monotonic() + 5
        while seen_workers(root)[0].worker.beat < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_worker_that_is_silent_is_not_alive(root: DataRoot) -> None:
    with worker(root, None):
        path = workers_dir(root) / "render-1@here.json"
        past = time.time() - ALIVE_S - 5
        os.utime(path, (past, past))
        [seen] = seen_workers(root)
        assert not seen.alive
        assert seen.silent_s > ALIVE_S
        assert living_workers(root, "render") == []


def test_a_clock_that_is_off_is_told_by_the_folder_s_clock(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(announce.time, "time", lambda: real() + 90)
    with worker(root, None):
        monkeypatch.undo()
        [seen] = seen_workers(root)
    assert seen.alive
    assert seen.clock_off_s == pytest.approx(90, abs=2)


def test_versions_that_differ_are_named() -> None:
    assert differing_versions({"code": "a", "torch": "2"}, {"code": "b", "torch": "2"}) == ["code a in place of b"]
    assert differing_versions({}, {"torch": "2"}) == ["torch none in place of 2"]


def test_whoever_renders_first_decides_the_renderer_of_a_pack(root: DataRoot) -> None:
    assert pack_renderer(root, "pack") is None
    assert decide_renderer(root, "pack", "GPU", "a") == "GPU"
    assert decide_renderer(root, "pack", "llvmpipe", "b") == "GPU"
    assert pack_renderer(root, "pack") == "GPU"


def test_frames_that_are_there_decide_the_renderer_of_their_pack(root: DataRoot) -> None:
    write_manifest(root, "pack", ["p1"])
    write_index(root, "pack", ["p1"])
    write_frames_meta(root, "pack")
    assert decide_renderer(root, "pack", "GPU", "a") == PAGE.renderer


def test_a_worker_of_another_renderer_fails_in_one_line_that_names_who_is_there(root: DataRoot) -> None:
    decide_renderer(root, "pack", "GPU", "a")
    with worker(root, "llvmpipe"):
        with pytest.raises(UserError) as raised:
            require_renderer(root, "pack")
        text = str(raised.value)
        assert "'GPU'" in text
        assert "llvmpipe" in text
        assert str(renderer_file(root, "pack")) in text
        assert "\n" not in text
        require_renderer(root, "other")
    # Outside a worker, as in the local profile, nobody is asked.
    require_renderer(root, "pack")
