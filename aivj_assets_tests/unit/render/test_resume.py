"""What is left to render after crashes, changed presets, other parameters; how the rest is cut; how it is finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.frames_index import FailedRecord, FrameMetrics, OkRecord, id_hash, read_records
from aivj_assets.contracts.preset_file import PresetText, read_manifest_preset
from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.render import resume as resume_module
from aivj_assets.render.resume import absorb_shard_logs, finish_index, plan_rendering, shard_count
from aivj_assets.render.shard_log import ShardLog, store_frames
from aivj_assets.render.shard_plan import ShardPlan
from aivj_assets_tests.builders import write_frame

PAGE = PageDescription.model_validate(
    {
        "engine": "butterchurn",
        "engineVersion": "3",
        "pageVersion": "1",
        "renderer": "llvmpipe",
        "converterVersions": {"hlslparser-js": "0.0.1"},
    }
)
PARAMETERS = RenderParameters(capture_count=2)


class Batch:
    """A `small_batch` and records for it, as a shard would have left them."""

    def __init__(self, small: Any, count: int) -> None:
        self.small = small
        for number in range(count):
            small.add(f"p{number}", f"preset {number}")
        self.fingerprint = self.plan().fingerprint

    def plan(self, parameters: RenderParameters = PARAMETERS, **options: Any) -> Any:
        return self.small.plan(parameters, PAGE, **options)

    def ok(self, preset_id: str, content: bytes = b"frame") -> OkRecord:
        preset = next(preset for preset in self.small.presets if preset.id == preset_id)
        text = read_manifest_preset(self.small.root, preset.rel_path)
        assert isinstance(text, PresetText)
        digest = id_hash(preset_id)
        return OkRecord(
            preset_id=preset_id,
            rel_path=preset.rel_path,
            file_path="",
            preset_sha256=text.sha256,
            fingerprint=self.fingerprint,
            id_hash=digest,
            frames=store_frames(self.small.folder, digest, [content, content], "webp"),
            metrics=FrameMetrics(avg_luma=0.5, motion=0.1),
        )

    def failed(self, preset_id: str, reason: str, **more: Any) -> FailedRecord:
        preset = next(preset for preset in self.small.presets if preset.id == preset_id)
        text = read_manifest_preset(self.small.root, preset.rel_path)
        return FailedRecord(
            preset_id=preset_id,
            rel_path=preset.rel_path,
            file_path="",
            preset_sha256=text.sha256 if isinstance(text, PresetText) else None,
            fingerprint=self.fingerprint,
            reasons=[reason],
            **more,
        )

    def log(self, shard: str, *records: OkRecord | FailedRecord) -> ShardLog:
        log = ShardLog(self.small.folder, shard)
        log.open()
        for record in records:
            log.append(record)
        return log

    def pending(self, parameters: RenderParameters = PARAMETERS, **options: Any) -> list[str]:
        return [preset.preset_id for preset in self.plan(parameters, **options).pending]

    def file(self, preset_id: str) -> Path:
        preset = next(preset for preset in self.small.presets if preset.id == preset_id)
        return self.small.root.presets_dir / preset.rel_path


@pytest.fixture
def batch(small_batch: Any) -> Batch:
    return Batch(small_batch, 4)


def test_a_fresh_batch_is_all_pending_and_a_rendered_one_is_not(batch: Batch) -> None:
    assert batch.pending() == ["p0", "p1", "p2", "p3"]
    batch.log("s0", *(batch.ok(f"p{number}") for number in range(4)))
    plan = batch.plan()
    assert plan.pending == ()
    assert plan.shards == ()
    assert list(plan.kept) == ["p0", "p1", "p2", "p3"]


def test_what_makes_an_ok_record_count_no_more(batch: Batch) -> None:
    batch.log("s0", *(batch.ok(f"p{number}") for number in range(4)))
    batch.file("p0").write_text("edited", encoding="utf-8")
    record = absorb_shard_logs(batch.small.folder)["p1"]
    assert isinstance(record, OkRecord)
    (batch.small.folder.path / record.frames[1]).unlink()
    record = absorb_shard_logs(batch.small.folder)["p2"]
    assert isinstance(record, OkRecord)
    (batch.small.folder.path / record.frames[0]).write_bytes(b"")
    assert batch.pending() == ["p0", "p1", "p2"]


def test_a_frame_that_was_cut_off_is_rendered_again(batch: Batch) -> None:
    batch.log("s0", *(batch.ok(f"p{number}") for number in range(4)))
    for preset_id, keep in (("p0", None), ("p2", 40)):
        record = absorb_shard_logs(batch.small.folder)[preset_id]
        assert isinstance(record, OkRecord)
        path = batch.small.folder.path / record.frames[1]
        write_frame(path, seed=1, luma=0.5)
        path.write_bytes(path.read_bytes()[:keep])
    assert batch.pending() == ["p2"]


def test_other_pixel_parameters_render_all_anew_and_others_do_not(batch: Batch) -> None:
    batch.log("s0", *(batch.ok(f"p{number}") for number in range(4)))
    assert batch.pending(RenderParameters(capture_count=2, timeout_ms=5000, refresh_every=7)) == []
    assert batch.pending(RenderParameters(capture_count=2, warmup_frames=61)) == ["p0", "p1", "p2", "p3"]


def test_records_go_before_their_frames_are_overwritten(batch: Batch) -> None:
    """A crash while other parameters render must not leave old lines that stand over new frames."""
    batch.log("s0", *(batch.ok(f"p{number}") for number in range(4)))
    batch.plan(RenderParameters(capture_count=2, warmup_frames=61))
    assert read_records(batch.small.folder.frames_index) == {}
    assert batch.pending() == ["p0", "p1", "p2", "p3"]


def test_failures_of_the_preset_stay_and_those_of_the_moment_are_tried_again(batch: Batch) -> None:
    batch.log(
        "s0",
        batch.failed("p0", "shader-compile-failed"),
        batch.failed("p1", "probe-timeout"),
        batch.failed("p2", "watchdog"),
        FailedRecord.model_validate({**batch.failed("p3", "watchdog").to_json(), "quarantined": True}),
    )
    assert batch.pending() == ["p1", "p2"]
    batch.log("s1", batch.failed("p1", "probe-timeout"), batch.failed("p2", "watchdog"))
    assert batch.pending(retry_failed=True) == ["p0", "p1", "p2", "p3"]


def test_a_quarantined_preset_is_tried_again_once_it_has_more_time(batch: Batch) -> None:
    record = batch.failed("p0", "watchdog", quarantined=True, timeout_ms=30_000)
    batch.log("s0", record, *(batch.ok(f"p{number}") for number in range(1, 4)))
    assert batch.pending() == []
    assert batch.pending(RenderParameters(capture_count=2, timeout_ms=20_000)) == []
    assert batch.pending(RenderParameters(capture_count=2, timeout_ms=45_000)) == ["p0"]
    batch.log("s1", record.model_copy(update={"timeout_ms": 45_000}))
    assert batch.pending(RenderParameters(capture_count=2, timeout_ms=45_000)) == []


def test_a_parameter_renders_failed_presets_again(batch: Batch) -> None:
    batch.log("s0", batch.failed("p0", "shader-compile-failed"), *(batch.ok(f"p{number}") for number in range(1, 4)))
    assert batch.pending() == []
    assert batch.pending(RenderParameters(capture_count=2, retry_failed=True)) == ["p0"]


def test_a_refused_file_is_done_until_it_changes(batch: Batch) -> None:
    batch.file("p0").write_bytes(b"\0\0")
    batch.log("s0", batch.failed("p0", "binary-nul"))
    assert "p0" not in batch.pending()
    batch.file("p0").write_bytes(b"")
    assert "p0" in batch.pending()
    batch.log("s1", batch.failed("p0", "empty"))
    assert "p0" not in batch.pending()
    batch.file("p0").write_bytes(b"a preset now")
    assert "p0" in batch.pending()


def test_without_resume_everything_is_rendered_anew(batch: Batch) -> None:
    batch.log("s0", *(batch.ok(f"p{number}") for number in range(4)))
    assert len(batch.pending(RenderParameters(capture_count=2, resume=False))) == 4
    # That run was killed before its first preset: the next one goes on with it.
    assert len(batch.pending()) == 4


def test_a_torn_line_is_cut_off_and_its_preset_rendered_again(batch: Batch) -> None:
    log = batch.log("s0", batch.ok("p0"), batch.ok("p1"))
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-25])
    assert list(ShardLog(batch.small.folder, "s0").open()) == ["p0"]
    assert log.path.read_bytes() == whole[: whole.index(b"\n") + 1]
    log.append(batch.ok("p2"))
    assert list(absorb_shard_logs(batch.small.folder)) == ["p0", "p2"]


def test_a_later_log_counts_over_an_earlier_one(batch: Batch) -> None:
    old = batch.failed("p0", "probe-timeout")
    new = batch.ok("p0")
    batch.log("zz_old", old.model_copy(update={"at": "2026-01-01T00:00:00.000Z"}))
    batch.log("aa_new", new.model_copy(update={"at": "2026-01-02T00:00:00.000Z"}))
    assert absorb_shard_logs(batch.small.folder)["p0"].status == "ok"


@pytest.mark.parametrize("crash_at", ["before the index", "after the index", "after one log"])
def test_absorbing_may_be_interrupted_anywhere(batch: Batch, crash_at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = batch.small.folder
    batch.log("s0", batch.failed("p0", "probe-timeout").model_copy(update={"at": "2026-01-01T00:00:00.000Z"}))
    batch.log("s1", batch.ok("p0").model_copy(update={"at": "2026-01-02T00:00:00.000Z"}), batch.ok("p1"))

    class PowerCutError(Exception):
        pass

    def cut(*_args: Any) -> None:
        raise PowerCutError

    removed: list[Path] = []
    unlink = Path.unlink

    def cut_at_the_second_log(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".jsonl":
            if len(removed) == (0 if crash_at == "after the index" else 1):
                raise PowerCutError
            removed.append(path)
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        if crash_at == "before the index":
            patch.setattr(resume_module, "write_records", cut)
        else:
            patch.setattr(Path, "unlink", cut_at_the_second_log)
        with pytest.raises(PowerCutError):
            absorb_shard_logs(folder)
    first = absorb_shard_logs(folder)
    assert {preset_id: record.status for preset_id, record in first.items()} == {"p0": "ok", "p1": "ok"}
    index = folder.frames_index.read_bytes()
    assert absorb_shard_logs(folder) == first
    assert folder.frames_index.read_bytes() == index
    assert list(folder.shard_logs_dir.iterdir()) == []


def test_a_broken_line_names_file_and_line(batch: Batch) -> None:
    log = batch.log("s0", batch.ok("p0"))
    log.path.write_bytes(b"{broken}\n" + log.path.read_bytes())
    with pytest.raises(UserError, match=r"s0\.jsonl line 1"):
        absorb_shard_logs(batch.small.folder)


def test_a_finished_index_is_in_manifest_order_and_failed_presets_have_no_frames(batch: Batch) -> None:
    stale = batch.ok("p2")
    batch.log("s1", batch.ok("p3"), batch.failed("p2", "shader-compile-failed"))
    batch.log("s0", batch.ok("p1").model_copy(update={"warnings": ["missing-texture:x"]}), batch.ok("p0"))
    finished = finish_index(batch.small.folder, batch.small.presets, batch.fingerprint)
    assert finished.complete
    assert (finished.total, finished.ok, finished.failed) == (4, 3, 1)
    assert finished.failure_reasons == {"shader-compile-failed": 1}
    assert finished.warnings == {"missing-texture:x": 1}
    assert list(read_records(batch.small.folder.frames_index)) == ["p0", "p1", "p2", "p3"]
    assert not (batch.small.folder.path / stale.frames[0]).exists()
    assert len(list(batch.small.folder.frames_dir.rglob("*.webp"))) == 6
    before = batch.small.folder.frames_index.stat().st_mtime_ns
    assert finish_index(batch.small.folder, batch.small.presets, batch.fingerprint) == finished
    assert batch.small.folder.frames_index.stat().st_mtime_ns == before


def test_an_unfinished_batch_is_told_and_keeps_everything(batch: Batch) -> None:
    batch.log("s0", batch.ok("p1"), batch.failed("p2", "probe-timeout"))
    finished = finish_index(batch.small.folder, batch.small.presets, batch.fingerprint)
    assert not finished.complete
    assert finished.left == ("p0", "p3")
    assert list(read_records(batch.small.folder.frames_index)) == ["p1", "p2"]


def test_records_of_another_fingerprint_do_not_complete_a_batch(batch: Batch) -> None:
    records = [batch.ok(f"p{number}") for number in range(4)]
    batch.log("s0", *records[:3], records[3].model_copy(update={"fingerprint": "0" * 16}))
    assert finish_index(batch.small.folder, batch.small.presets, batch.fingerprint).left == ("p3",)


def test_presets_that_left_the_manifest_leave_the_index(batch: Batch) -> None:
    batch.log("s0", *(batch.ok(f"p{number}") for number in range(4)))
    presets = batch.small.presets[1:]
    assert finish_index(batch.small.folder, presets, batch.fingerprint).complete
    assert list(read_records(batch.small.folder.frames_index)) == ["p1", "p2", "p3"]


def test_presets_that_left_the_manifest_leave_no_frames(batch: Batch) -> None:
    folder = batch.small.folder
    gone, *kept = (batch.ok(f"p{number}") for number in range(4))
    strangers = [
        folder.frames_dir / "ab" / "cd" / "notes.txt",
        folder.frames_dir / "ab" / "cd" / "0123456789abcdef" / "frame-000.webp",  # not where its name belongs
        folder.frames_dir / "ab" / "cd" / "mine" / "frame-000.webp",
        folder.frames_dir / "sheets" / "cd" / "abcd456789abcdef" / "frame-000.webp",
        folder.frames_dir / "ab" / "cd" / "abcd456789abcdef" / "deeper" / "x.webp",  # cannot be removed
    ]
    for path in strangers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    batch.log("s0", *kept[:2])
    assert not finish_index(folder, batch.small.presets[1:], batch.fingerprint).complete
    assert all((folder.path / frame).is_file() for frame in gone.frames)
    batch.log("s1", kept[2])
    assert finish_index(folder, batch.small.presets[1:], batch.fingerprint).complete
    assert not (folder.frames_dir / gone.id_hash[:2]).exists()
    assert all((folder.path / frame).is_file() for record in kept for frame in record.frames)
    assert all(path.is_file() for path in strangers)


@pytest.mark.parametrize(
    ("presets", "refresh_every", "parallel", "shards"),
    [
        (60, 100, 2, 2),
        (60, 100, 1, 1),
        (250, 100, 2, 4),
        (200, 100, 2, 2),
        (101, 100, 1, 2),
        (5, 100, 4, 1),
        (17, 100, 4, 2),
        (3, 1, 2, 3),
        (0, 100, 2, 0),
        (15_000, 100, 8, 152),
    ],
)
def test_how_many_shards(presets: int, refresh_every: int, parallel: int, shards: int) -> None:
    assert shard_count(presets, refresh_every, parallel) == shards


def test_shards_hold_every_preset_once_and_are_of_similar_size(make_batch: Callable[[str], Any]) -> None:
    batch = Batch(make_batch("many"), 43)
    shards = batch.plan(RenderParameters(capture_count=2, refresh_every=10), parallel=2).shards
    sizes = [len(shard.presets) for shard in shards]
    assert max(sizes) <= 10
    assert max(sizes) - min(sizes) <= 1
    assert len(shards) % 2 == 0
    ids = [preset.preset_id for shard in shards for preset in shard.presets]
    assert sorted(ids) == sorted(preset.id for preset in batch.small.presets)
    assert len({shard.name for shard in shards}) == len(shards)


def test_a_plan_survives_the_way_to_another_process(batch: Batch) -> None:
    shard = batch.plan(RenderParameters(capture_count=2, stop_after_sec=60)).shards[0]
    assert ShardPlan.model_validate(shard.model_dump(mode="json")) == shard
    assert ShardPlan.model_validate_json(shard.model_dump_json()) == shard
    assert shard.deadline_epoch_s is not None


def test_the_earlier_of_two_ends_counts(batch: Batch) -> None:
    soon, budget = time.time() + 5, RenderParameters(capture_count=2, stop_after_sec=60)
    assert {shard.deadline_epoch_s for shard in batch.plan(budget, stop_at_epoch_s=soon).shards} == {soon}
    late = batch.plan(budget, stop_at_epoch_s=soon + 3600).shards[0].deadline_epoch_s
    assert late is not None
    assert soon < late < soon + 3600
    assert batch.plan(RenderParameters(capture_count=2)).shards[0].deadline_epoch_s is None


def test_shard_names_tell_plans_apart(batch: Batch) -> None:
    names = {shard.name for shard in batch.plan().shards}
    assert names == {shard.name for shard in batch.plan().shards}
    other = {shard.name for shard in batch.plan(RenderParameters(capture_count=2, width=128)).shards}
    assert names.isdisjoint(other)
    batch.log("s0", batch.ok("p0"))
    assert names.isdisjoint({shard.name for shard in batch.plan().shards})


def test_the_manifest_may_move_a_preset(batch: Batch) -> None:
    batch.log("s0", *(batch.ok(f"p{number}") for number in range(4)))
    moved = [batch.small.presets[0].model_copy(update={"rel_path": "pack/p1.json"}), *batch.small.presets[1:]]
    plan = plan_rendering(
        moved,
        root=batch.small.root,
        batch=batch.small.key,
        batch_dir=batch.small.folder,
        parameters=PARAMETERS,
        page=PAGE,
    )
    assert [preset.preset_id for preset in plan.pending] == ["p0"]
