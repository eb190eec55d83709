"""What counts as a difference between a batch and its second rendering, and what is not comparable at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, frame_paths, id_hash, write_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.preset_file import read_preset_file
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.render import verify
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.verify import (
    Difference,
    VerifyReport,
    compare,
    differing_fields,
    mean_difference_steps,
    recorded_parameters,
    verify_batch,
)
from aivj_assets_tests.builders import PAGE, failed_record, ok_record, write_frames_meta, write_index, write_manifest

ENVIRONMENT = RenderEnvironment(Path("none"), "system", Path("p"), Path("n"), is_root=False, platform="linux")
KEY = BatchKey("pack")


def picture(level: int, *, side: int = 8, quality: int | None = None) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(buffer, "WEBP", lossless=quality is None)
    return buffer.getvalue()


def stored_twice(tmp_path: Path, before: list[bytes | None], after: list[bytes | None]) -> Difference | None:
    """Compare two records of one preset whose frames hold these bytes (None: no file)."""
    folders = BatchDir(tmp_path / "before"), BatchDir(tmp_path / "after")
    for folder, frames in zip(folders, (before, after), strict=True):
        for path, data in zip(frame_paths(id_hash("a"), len(frames), "webp"), frames, strict=True):
            if data is not None:
                (folder.path / path).parent.mkdir(parents=True, exist_ok=True)
                (folder.path / path).write_bytes(data)
    records = [ok_record("a", "pack", captures=len(frames)) for frames in (before, after)]
    return compare(records[0], records[1], *folders)


def test_the_same_bytes_are_no_difference(tmp_path: Path) -> None:
    assert stored_twice(tmp_path, [picture(10), picture(20)], [picture(10), picture(20)]) is None


def test_frames_that_differ_are_named_with_how_much(tmp_path: Path) -> None:
    found = stored_twice(tmp_path, [picture(10), picture(20), picture(30)], [picture(10), picture(22), picture(34)])
    assert found is not None
    assert (found.kind, found.frames) == ("frames", ["frame-001.webp", "frame-002.webp"])
    assert found.mean_difference_steps == pytest.approx(3.0)
    assert "frame-001.webp differs by 2.000 of 255" in found.text


def test_frames_that_are_missing_or_no_picture_are_told_apart(tmp_path: Path) -> None:
    found = stored_twice(tmp_path, [None, b"no picture", picture(1)], [picture(1), picture(1), picture(1)])
    assert found is not None
    assert found.text == "frame-000.webp missing as stored, frame-001.webp no readable picture"
    assert found.mean_difference_steps is None
    fewer = stored_twice(tmp_path / "fewer", [picture(1), picture(2)], [picture(1)])
    assert fewer is not None
    assert fewer.text == "frame-001.webp missing now"


def test_a_file_written_anew_with_the_same_picture_differs_by_nothing() -> None:
    """Other bytes are a difference, but one that nobody sees."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture(10))).save(buffer, "PNG")
    assert mean_difference_steps(picture(10), buffer.getvalue()) == 0.0
    assert mean_difference_steps(picture(10), picture(10, side=16)) is None
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    encoded = []
    for array in (ramp, 255 - ramp):
        out = io.BytesIO()
        Image.fromarray(np.repeat(array[:, :, None], 3, axis=2)).save(out, "PNG")
        encoded.append(out.getvalue())
    assert mean_difference_steps(*encoded) == pytest.approx(np.abs(2.0 * np.arange(256) - 255).mean())


@pytest.mark.parametrize(
    ("stored", "fresh", "kind", "says"),
    [
        (ok_record("a", "pack"), failed_record("a", "pack", "render-failed"), "status", "ok as stored, failed with re"),
        (failed_record("a", "pack", "watchdog"), ok_record("a", "pack"), "status", "busy machine"),
        (failed_record("a", "pack", "empty"), failed_record("a", "pack", "watchdog"), "reasons", "failed with empty"),
        (failed_record("a", "pack"), failed_record("a", "pack", error_text="said otherwise"), None, ""),
    ],
)
def test_another_outcome_is_a_difference(tmp_path: Path, stored: Any, fresh: Any, kind: str | None, says: str) -> None:
    found = compare(stored, fresh, BatchDir(tmp_path), BatchDir(tmp_path))
    assert (found.kind if found else None) == kind
    assert says in (found.text if found else "")


def test_figures_that_were_changed_under_equal_frames_are_told(tmp_path: Path) -> None:
    folder = BatchDir(tmp_path)
    stored, fresh = ok_record("a", "pack", motion=0.1, captures=1), ok_record("a", "pack", motion=0.2, captures=1)
    (folder.path / stored.frames[0]).parent.mkdir(parents=True)
    (folder.path / stored.frames[0]).write_bytes(picture(1))
    found = compare(stored, fresh, folder, folder)
    assert found is not None
    assert (found.kind, found.text) == ("metrics", "same frames, but motion 0.1 as stored, 0.2 now")
    rounded = ok_record("a", "pack", motion=0.100001, captures=1)
    assert compare(stored, rounded, folder, folder) is None


def test_fields_that_differ_are_named_each() -> None:
    there = {"renderer": "llvmpipe", "width": 256, "converterVersions": {"parser": "1", "utils": "2"}, "old": 1}
    here = {"renderer": "NVIDIA", "width": 256, "converterVersions": {"parser": "1", "utils": "3"}}
    assert differing_fields(there, here) == [
        "converterVersions.utils '2' there, '3' here",
        "old 1 there, not told here",
        "renderer 'llvmpipe' there, 'NVIDIA' here",
    ]
    assert differing_fields(there, dict(there)) == []


def batch_with_meta(tmp_path: Path, count: int = 4, **parameters: Any) -> tuple[DataRoot, FramesMeta, list[str]]:
    root, ids = DataRoot(tmp_path), [f"p{number}" for number in range(count)]
    write_manifest(root, "pack", ids)
    write_index(root, "pack", ids)
    return root, write_frames_meta(root, "pack", **parameters), ids


def test_parameters_are_those_of_the_batch_without_what_would_end_the_rendering(tmp_path: Path) -> None:
    _, meta, _ = batch_with_meta(tmp_path, warmup_frames=7, timeout_ms=4000, stop_after_sec=3, require_gpu=True)
    parameters = recorded_parameters(meta)
    assert (parameters.warmup_frames, parameters.timeout_ms) == (7, 4000)
    assert (parameters.stop_after_sec, parameters.require_gpu, parameters.out_dir) == (0, False, None)
    broken = meta.model_copy(update={"pixel_parameters": {**meta.pixel_parameters, "width": "wide"}})
    with pytest.raises(UserError, match=r"frames\.meta\.json are not valid"):
        recorded_parameters(broken)


def test_a_batch_without_a_finished_rendering_is_one_line(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    write_manifest(root, "pack", ["a"])
    with pytest.raises(UserError, match="has not been rendered to its end"):
        verify_batch(root, KEY, ENVIRONMENT)
    write_index(root, "pack", ["a"])
    write_frames_meta(root, "pack")
    # The index of a rendering with other parameters that is under way.
    with pytest.raises(UserError, match="may be under way"):
        verify_batch(root, KEY, ENVIRONMENT)


class Renderer:
    """Stands in for the machine: says what page it has, and 'renders' what is stored."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **page: str) -> None:
        report = BrowserReport(PAGE.model_copy(update=page), "llvmpipe", "Chromium 1", ())
        monkeypatch.setattr(verify, "describe_renderer", lambda _environment, _parameters: report)
        monkeypatch.setattr(verify, "run_in_processes", self.run)
        self.rendered: list[str] = []

    def run(self, _function: Any, shards: Any, **_options: Any) -> None:
        for shard in shards:
            self.rendered += [preset.preset_id for preset in shard.presets]
            records = [failed_record(preset.preset_id, "pack", "watchdog") for preset in shard.presets]
            write_records(shard.batch_dir.shard_logs_dir / f"{shard.name}.jsonl", records)


def with_fingerprints(root: DataRoot, meta: FramesMeta, ids: list[str]) -> None:
    records: list[OkRecord | FailedRecord] = []
    for preset_id in ids:
        preset = read_preset_file(root.preset_file(f"pack/files/{preset_id}.json"))
        sha256 = getattr(preset, "sha256", None)
        records.append(ok_record(preset_id, "pack", fingerprint=meta.fingerprint, preset_sha256=sha256))
    write_records(root.batch(KEY).frames_index, records)


def test_another_machine_is_refused_by_the_fields_that_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, meta, ids = batch_with_meta(tmp_path)
    with_fingerprints(root, meta, ids)
    renderer = Renderer(monkeypatch, renderer="NVIDIA", page_version="9")
    with pytest.raises(
        UserError, match=r"pageVersion '1' there, '9' here; renderer 'llvmpipe .*' there, 'NVIDIA' here"
    ):
        verify_batch(root, KEY, ENVIRONMENT)
    Renderer(monkeypatch)
    meta.model_copy(update={"fingerprint": "0" * 16}).save(root.batch(KEY).frames_meta)
    with_fingerprints(root, meta.model_copy(update={"fingerprint": "0" * 16}), ids)
    with pytest.raises(UserError, match="changed by hand"):
        verify_batch(root, KEY, ENVIRONMENT)
    assert renderer.rendered == []


def test_the_sample_repeats_by_its_seed_and_changed_files_are_not_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, meta, ids = batch_with_meta(tmp_path, count=40)
    with_fingerprints(root, meta, ids)
    renderer = Renderer(monkeypatch)
    first = verify_batch(root, KEY, ENVIRONMENT, sample=10, seed=3)
    assert len(first.checked) == 10
    assert first.checked == [key for key in ids if key in first.checked]
    assert sorted(renderer.rendered) == sorted(first.checked)
    assert verify_batch(root, KEY, ENVIRONMENT, sample=10, seed=3).checked == first.checked
    assert verify_batch(root, KEY, ENVIRONMENT, sample=10, seed=4).checked != first.checked
    changed, gone = first.checked[:2]
    root.preset_file(f"pack/files/{changed}.json").write_text("{}", encoding="utf-8")
    root.preset_file(f"pack/files/{gone}.json").unlink()
    renderer.rendered.clear()
    again = verify_batch(root, KEY, ENVIRONMENT, sample=10, seed=3)
    assert sorted(renderer.rendered) == sorted(first.checked[2:])
    found = {difference.preset_id: difference for difference in again.differences}
    assert list(found) == first.checked
    assert found[changed].kind == found[gone].kind == "preset-changed"
    assert "has changed since" in found[changed].text
    assert "the file is missing" in found[gone].text


def test_the_report_ends_with_counts_and_the_seed() -> None:
    report = VerifyReport(
        batch="pack", fingerprint="f", seed=11, comparable=38, presets=40, checked=["a", "b", "c"], duration_s=4.4,
        differences=[Difference(preset_id="b", kind="frames", text="frame-000.webp differs by 1.000 of 255")],
    )  # fmt: skip
    assert not report.equal
    assert report.lines() == [
        "b: frame-000.webp differs by 1.000 of 255",
        "Batch pack: 2 of 3 presets are as stored, frames 1 (4 s, seed 11).",
        "2 of 40 presets have no record of this rendering: run the batch.",
    ]


def test_defaults_survive_the_way_through_the_meta_file(tmp_path: Path) -> None:
    _, meta, _ = batch_with_meta(tmp_path)
    assert recorded_parameters(FramesMeta.load(DataRoot(tmp_path).batch(KEY).frames_meta)) == RenderParameters()
    assert meta.flags == {}
