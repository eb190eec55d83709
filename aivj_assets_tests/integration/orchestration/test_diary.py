"""The diary over real runs: what is written when, replaced in place, and never a person's text."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from rich.console import Console

from aivj_assets.contracts.frames_index import encode_record, read_records, write_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.progress import RenderProgress
from aivj_assets.contracts.run_meta import QaVerdict, RunMeta
from aivj_assets.errors import EXIT_INTERRUPTED, UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.adopt.adoption import AdoptOptions
from aivj_assets.orchestration.commands import adopt as adopt_command
from aivj_assets.orchestration.commands import batch as commands
from aivj_assets.orchestration.diary import write_diary
from aivj_assets.orchestration.launch import RunOutcome
from aivj_assets.orchestration.lineage.acts import LineageActConfig, perform
from aivj_assets_tests.builders import ok_record, write_frames_meta, write_index
from aivj_assets_tests.house import House

ONE, TWO, THREE, FOUR = (BatchKey("big", f"batch-000{number}") for number in (1, 2, 3, 4))


def section(root: DataRoot, batch: BatchKey) -> str:
    """Return the one section of a batch."""
    text = root.execution_status.read_text(encoding="utf-8")
    (found,) = re.findall(f"<!-- aivj:batch {batch} -->\n(.*?)\n<!-- /aivj:batch {batch} -->", text, re.DOTALL)
    return str(found)


def task(root: DataRoot, batch: BatchKey) -> str:
    """Return the one line of a batch, without its mark."""
    mark = f" <!-- aivj:batch {batch} -->"
    (found,) = [line for line in root.todos.read_text(encoding="utf-8").splitlines() if line.endswith(mark)]
    return found.removesuffix(mark)


def stamps(root: DataRoot) -> list[int]:
    return [path.stat().st_mtime_ns for path in (root.execution_status, root.todos)]


def judge(root: DataRoot, batch: BatchKey, qa: QaVerdict) -> None:
    path = root.batch(batch).run_meta
    RunMeta.load(path).model_copy(update={"qa": qa}).save(path)


def test_a_run_to_the_end_writes_its_batch_and_a_verdict_that_comes_later_replaces_it(house: House) -> None:
    root = house.root
    house.add(ONE)
    assert house.run(ONE, "a").success
    text = section(root, ONE)
    assert text.startswith("## big/batch-0001: accepted\n")
    fingerprint = FramesMeta.load(root.batch(ONE).frames_meta).fingerprint
    for part in (
        "- presets: 20 in the manifest\n", "- rendered: 20 ok, 0 failed\n", "topSame 1 of 20",
        f"fingerprint {fingerprint}; all parameters are the defaults; renderer llvmpipe: llvmpipe (test)\n",
        "- embedding: test-model (test-weights", "of lineage main, version 1", "- QA: open\n",
        "| ok_rate | 1 | >= 0.95 | passed |",
    ):  # fmt: skip
        assert part in text, part
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == 2
    assert all((root.execution_status.parent / link).is_file() for link in links)
    assert task(root, ONE) == "- [ ] big/batch-0001: QA open"

    before = stamps(root)
    assert write_diary(house.instance, root, [ONE]) == []
    assert stamps(root) == before

    judge(root, ONE, QaVerdict(state="reviewed", verdict="mixed", reviewer="Anna", note="c03 | dark\n<!-- x -->"))
    assert write_diary(house.instance, root, [ONE]) == [ONE]
    assert "- QA: mixed by Anna: c03 \\| dark &lt;!-- x -->\n" in section(root, ONE)
    assert task(root, ONE).startswith("- [x] big/batch-0001: QA mixed by Anna")


def test_batches_that_did_not_come_to_the_end_are_told_with_the_reason(house: House) -> None:
    root = house.root
    for batch in (ONE, TWO, THREE, FOUR):
        house.add(batch)
    presets = list(read_records(root.batch(ONE).frames_index))
    write_index(root, ONE.key, presets, same_first_frame=presets, failed={presets[0]: "shader-compile-failed"})
    write_frames_meta(root, ONE.key)
    assert not house.run(ONE, "a").success
    for batch in (TWO, FOUR):
        assert house.run(batch, "a").success
    perform(root, LineageActConfig(act="remove", batch=TWO.key, reason="taste"))
    gone = {f"batch-0003-p{number:03d}": "frame-000.webp: gone" for number in range(2)}
    assert not house.run(THREE, "a", left_out=gone).success

    assert write_diary(house.instance, root, [ONE, TWO, THREE]) == [ONE, TWO, THREE]
    text = section(root, ONE)
    assert text.startswith("## big/batch-0001: rejected\n\n- state: rejected, 20")
    assert "- failure reasons: shader-compile-failed 1\n" in text
    assert "| top_same | 1 | &lt; 0.2 | failed |" in text
    assert "- k:" not in text
    assert task(root, ONE).startswith(
        "- [ ] big/batch-0001: gates failed: top_same 1 (required &lt; 0.2); to try: warmupFrames 90"
    )
    assert task(root, TWO) == "- [x] big/batch-0002: removed from its lineage: taste"
    assert task(root, THREE).startswith("- [ ] big/batch-0003: rejected: one_row_per_ok_preset: ")
    assert "- embedding: " in section(root, THREE)


def test_a_rendering_that_was_stopped_shows_how_far_it_came(house: House) -> None:
    root = house.root
    ids = house.add(ONE)
    folder = root.batch(ONE)
    records = read_records(folder.frames_index)
    write_records(folder.frames_index, [records[name] for name in ids[:5]])
    RenderProgress(plan_id="x", total=20, todo=15).save(folder.render_plan)
    logged = ok_record(ids[5], "big").model_copy(update={"at": "2026-02-01T00:00:00.000Z"})
    (folder.shard_logs_dir / "s0.jsonl").write_bytes(encode_record(logged) + b'{"torn')
    write_diary(house.instance, root, [ONE])
    told = "6 of 20 presets have a record"
    assert task(root, ONE) == f"- [ ] big/batch-0001: incomplete, {told}; go on with: aivj run big/batch-0001"
    assert section(root, ONE).startswith(
        "## big/batch-0001: incomplete\n\n- state: incomplete, 2026-02-01T00:00:00.000Z\n"
        "- presets: 20 in the manifest, 6 have a record so far"
    )
    assert "failed" not in section(root, ONE)


def test_a_stale_batch_is_not_accepted_any_more(house: House) -> None:
    root = house.root
    house.add(ONE)
    assert house.run(ONE, "a").success
    with root.batch(ONE).style_index("v1").open("ab") as file:
        file.write(b"\n")
    assert write_diary(house.instance, root, [ONE]) == [ONE]
    assert task(root, ONE).startswith("- [ ] big/batch-0001: not accepted: 'style_index': its files have changed")
    assert "](" not in section(root, ONE)


def test_a_batch_that_cannot_be_read_has_that_as_its_line_and_holds_up_no_other(house: House) -> None:
    root = house.root
    for batch in (ONE, TWO):
        house.add(batch)
    root.manifest(ONE).write_text('{"a": 1 | 2}', encoding="utf-8")
    assert write_diary(house.instance, root, [ONE, TWO]) == [ONE, TWO]
    assert re.match(r"- \[ \] big/batch-0001: cannot be read: .*is not JSON", task(root, ONE))
    assert "not accepted" in task(root, TWO)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_a_person_wrote_stays(house: House, end: str) -> None:
    root = house.root
    notes = f"# My notes{end}{end}colour: d\u00e9j\u00e0 vu | <b>{end}last line"
    for path in (root.execution_status, root.todos):
        path.write_bytes(notes.encode())
    house.add(ONE)
    assert house.run(ONE, "a").success
    after = f"{end}between{end}".encode()
    for path in (root.execution_status, root.todos):
        path.write_bytes(path.read_bytes() + after)
    house.add(TWO)
    assert house.run(TWO, "a").success
    judge(root, ONE, QaVerdict(state="reviewed", verdict="good"))
    assert write_diary(house.instance, root, [ONE, TWO]) == [ONE]
    for path in (root.execution_status, root.todos):
        data = path.read_bytes()
        assert data.startswith(notes.encode() + end.encode())
        assert after in data
        assert data.count(b"<!-- aivj:batch big/batch-0001 -->") == 1
        assert data.count(b"<!-- aivj:batch big/batch-0002 -->") == 1
        assert (b"\r\n" in data) == (end == "\r\n")
        assert data.count(b"\n") == data.count(end.encode())


def test_two_at_once_lose_nothing(house: House) -> None:
    batches = [BatchKey("big", f"batch-{number:04d}") for number in range(1, 9)]
    for batch in batches:
        house.add(batch, 2)
    with ThreadPoolExecutor(len(batches)) as pool:
        changed = list(pool.map(lambda batch: write_diary(house.instance, house.root, [batch]), batches))
    assert changed == [[batch] for batch in batches]
    for batch in batches:
        assert section(house.root, batch)
        assert task(house.root, batch)


@pytest.mark.parametrize("spoil", [lambda path: path.mkdir(), lambda path: path.write_bytes("x".encode("utf-16"))])
def test_a_diary_that_cannot_be_written_stops_no_batch(house: House, spoil: Callable[[Path], None]) -> None:
    spoil(house.root.todos)
    house.add(ONE)
    result = house.run(ONE, "a")
    assert result.success
    assert house.accepted(ONE)
    warned = [entry.user_message for entry in house.instance.all_logs(result.run_id) if "diary" in entry.user_message]
    assert len(warned) == 1
    assert str(house.root.todos) in warned[0]


class Halfway:
    """Stands for what renders: comes to the fifth preset, and ends as it is told to."""

    def __init__(self, house: House, how: RunOutcome | BaseException) -> None:
        self.house, self.how = house, how

    def __call__(self, *_arguments: object, **_more: object) -> RunOutcome:
        path = self.house.root.batch(ONE).frames_index
        write_records(path, list(read_records(path).values())[:5])
        if isinstance(self.how, BaseException):
            raise self.how
        return self.how


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (RunOutcome("", success=False, interrupted=True), EXIT_INTERRUPTED),
        (RunOutcome("", success=False, problems=["its browser died"]), 1),
        (UserError("the disk is full"), UserError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["stopped", "failed", "a mistake", "Ctrl-C"],
)
def test_a_run_of_the_command_line_is_told_however_it_ends(
    house: House, monkeypatch: pytest.MonkeyPatch, how: RunOutcome | BaseException, status: int | type[BaseException]
) -> None:
    house.add(ONE)
    monkeypatch.setenv("AIVJ_EMBEDDER", "efficientnet-lite0")
    monkeypatch.setattr(commands, "run_batch", Halfway(house, how))
    with nullcontext() if isinstance(status, int) else pytest.raises(status):
        ended = commands.run_and_report(Console(file=io.StringIO()), house.root, ONE, commands.BatchOptions())
        assert ended == status
    assert "incomplete, 5 of 20 presets have a record" in task(house.root, ONE)


def test_an_adoption_that_was_cut_off_is_told_too(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pack = BatchKey("old")
    house.add(pack)

    def stopped(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(adopt_command, "adopt_pack", stopped)
    with pytest.raises(KeyboardInterrupt):
        adopt_command.adopt_and_report(Console(file=io.StringIO()), house.root, "old", AdoptOptions(tmp_path))
    assert task(house.root, pack).startswith("- [ ] old: not accepted: 'presets': it is not materialised")
