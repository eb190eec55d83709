import io
from pathlib import Path

import pytest
from rich.console import Console

from aivj_assets.contracts.embeddings import EmbeddingsMeta
from aivj_assets.contracts.frames_index import OkRecord, encode_record, read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, write_json_atomic
from aivj_assets.report.console import (
    BatchSummary,
    print_checkup,
    print_summary,
    read_render_progress,
    require_batch,
    summarise_batch,
)
from aivj_assets_tests.builders import ok_record, write_batch, write_index, write_manifest

BATCH = BatchKey("pack")
IDS = [f"p{number:03d}" for number in range(20)]


def shown(summary: BatchSummary, *, accepted: bool, ui_command: str = "aivj ui", failed: bool = False) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_summary(console, summary, accepted=accepted, ui_command=ui_command, failed=failed)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_summary_of_an_accepted_batch(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    write_batch(root, "pack")
    folder = root.batch(BATCH)
    folder.qa_dir.mkdir()
    (folder.qa_dir / "index.html").write_bytes(b"")
    root.published("pack", "aivj-style-index.v1.json").write_bytes(b"{}")
    summary = summarise_batch(root, BATCH)
    text = shown(summary, accepted=True)
    for part in (
        "Batch pack", "accepted", "20: 20 ok, 0 failed", "1.0000  (required >= 0.95)  passed",
        "0.0500  (required < 0.2)  passed", "0.7000  (required > 0.3)  passed", "0.3900  (required > 0.05)  passed",
        "llvmpipe: llvmpipe (test)", "test-model (test-weights), 8 dimensions", "2 (as asked)",
        str(folder.qa_dir / "index.html"), str(root.pack_dir("pack") / "aivj-*.json"), "aivj ui",
    ):  # fmt: skip
        assert part in text, part
    assert "not accepted" not in text


def test_the_summary_counts_presets_that_somebody_should_look_at(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    write_batch(root, "pack")
    assert "ok, but look" not in shown(summarise_batch(root, BATCH), accepted=True)
    path = root.batch(BATCH).frames_meta
    FramesMeta.load(path).model_copy(update={"flags": {"black": 2, "flat": 0, "static": 5}}).save(path)
    assert "black 2, static 5" in shown(summarise_batch(root, BATCH), accepted=True)


def test_the_summary_tells_of_presets_without_an_embedding(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    write_batch(root, "pack")
    assert "left out" not in shown(summarise_batch(root, BATCH), accepted=True)
    path = root.batch(BATCH).embeddings_meta
    left_out = {"p003": "frame-001.webp: missing on disk"}
    EmbeddingsMeta.load(path).model_copy(update={"left_out": left_out, "count": 19}).save(path)
    assert "19 of 20; left out: missing on disk 1" in shown(summarise_batch(root, BATCH), accepted=True)


def test_the_summary_names_a_preset_whose_frame_is_gone(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    write_batch(root, "pack")
    folder = root.batch(BATCH)
    record = read_records(folder.frames_index)["p003"]
    assert isinstance(record, OkRecord)
    (folder.path / record.frames[0]).unlink()
    text = shown(summarise_batch(root, BATCH), accepted=True)
    for part in ("20: 19 ok, 1 failed", "frame-missing 1", "0.9500  (required >= 0.95)  passed"):
        assert part in text, part


def test_a_rejected_batch_shows_no_stale_figures_of_an_earlier_run(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    write_batch(root, "pack")
    write_index(root, "pack", IDS, failed=dict.fromkeys(IDS[:10], "shader-compile-failed"))
    text = shown(summarise_batch(root, BATCH), accepted=False)
    assert "not accepted" in text
    assert "0.5000  (required >= 0.95)  failed" in text
    assert "shader-compile-failed 10" in text
    assert "test-model" not in text


def test_a_run_that_failed_shows_nothing_that_an_earlier_one_made(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    write_batch(root, "pack")
    text = shown(summarise_batch(root, BATCH), accepted=True, failed=True)
    assert "this run failed; the batch stays accepted as it was before" in text
    assert "clusters" not in text
    assert "QA page" not in text
    assert "not accepted" in shown(summarise_batch(root, BATCH), accepted=False, failed=True)


def test_a_batch_that_was_never_rendered(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    write_manifest(root, "pack", IDS)
    summary = summarise_batch(root, BATCH)
    assert (summary.frames, summary.embeddings, summary.clusters, summary.qa_page) == (None, None, None, None)
    text = shown(summary, accepted=False)
    # Neither passed nor failed: no gate is shown.
    assert "incomplete" in text
    assert "20: 0 have a record so far" in text
    assert "top_same" not in text


def test_brackets_in_names_are_shown_as_they_are(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "[red] my [presets]" / "[")
    write_batch(root, "pack")
    folder = root.batch(BATCH)
    folder.qa_dir.mkdir()
    (folder.qa_dir / "index.html").write_bytes(b"")
    summary = summarise_batch(root, BATCH)
    text = shown(summary, accepted=True, ui_command="aivj ui --root /x/[y]/[/z]").replace("\n", "")
    assert "[red] my [presets]" in text
    assert "/x/[y]/[/z]" in text


def test_progress_counts_whole_lines_of_the_shards(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    folder = root.batch(BATCH)
    assert read_render_progress(root, BATCH) is None
    write_json_atomic(folder.render_plan, {"total": 20, "todo": 5})
    assert read_render_progress(root, BATCH) == (0, 5)
    line = encode_record(ok_record("a", "pack"))
    (folder.shard_logs_dir / "s0.jsonl").write_bytes(line * 2 + line[:-5])
    (folder.shard_logs_dir / "s1.jsonl").write_bytes(line)
    assert read_render_progress(root, BATCH) == (3, 5)
    # A retried preset has two lines; the bar does not run over.
    (folder.shard_logs_dir / "s1.jsonl").write_bytes(line * 9)
    assert read_render_progress(root, BATCH) == (5, 5)
    folder.render_plan.write_text("{torn", encoding="utf-8")
    assert read_render_progress(root, BATCH) is None


def test_an_unknown_batch_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    with pytest.raises(UserError, match=r"known: none yet\).*aivj pack import"):
        require_batch(root, BATCH)
    write_manifest(root, "other", ["a"])
    write_manifest(root, "big/batch-0001", ["a"])
    with pytest.raises(UserError, match=r"no batch 'pack' .*known: big/batch-0001, other"):
        require_batch(root, BATCH)
    require_batch(root, BatchKey("other"))


def test_a_checkup_ends_with_its_problems_those_that_stop_named_so() -> None:
    console = Console(file=io.StringIO(), width=120)
    sections = [("Machine", [("cores", "2"), ("data root", "/x/[y]/[/z]")]), ("Browser", [("browser", "none")])]
    print_checkup(console, sections, [("No browser was found: install [one].", True), ("WebGL is slow.", False)])
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split() for line in lines if "cores" in line] == [["cores", "2"]]
    assert any("/x/[y]/[/z]" in line for line in lines)
    assert lines[-2:] == ["Stops rendering: No browser was found: install [one].", "Note: WebGL is slow."]
    console = Console(file=io.StringIO(), width=120)
    print_checkup(console, sections, [])
    assert console.file.getvalue().endswith("Nothing stands in the way.\n")  # type: ignore[attr-defined]
