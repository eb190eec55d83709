"""What `aivj pack split` and `aivj run --all-batches` say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from aivj_assets.cli import app as cli
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.commands import all_batches
from aivj_assets.orchestration.commands.batch import BatchOptions
from aivj_assets_tests.builders import write_manifest


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIVJ_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path)


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command as a shell would; returns status, output and error output."""
    monkeypatch.setattr(sys, "argv", ["aivj", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def names(count: int) -> list[str]:
    return [f"p{number:03d}" for number in range(count)]


def test_a_split_says_what_was_made_and_what_comes_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], root: DataRoot
) -> None:
    write_manifest(root, "big", names(25), files=False)
    split = ("pack", "split", "big", "--batch-size", "10")
    status, out, _ = said(monkeypatch, capsys, *split, "--seed", "7")
    assert status == 0
    shown = "Pack 'big': 25 presets in 3 batches, shuffled with seed 7"
    assert out.splitlines() == [
        f"{shown}; made big/batch-0001 to big/batch-0003 with 8 to 9 each.",
        "Next: aivj run big --all-batches",
    ]
    assert said(monkeypatch, capsys, *split)[1] == f"{shown}; nothing to do.\n"
    _, out, _ = said(monkeypatch, capsys, "pack", "split", "big", "--batch-size", "99", "--in-order")
    assert out.startswith(
        "Pack 'big': 25 presets in one batch, in order; made big/batch-0001 with 25, in place of the split before."
    )


def test_what_no_longer_matches_the_root_manifest_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], root: DataRoot
) -> None:
    write_manifest(root, "big", names(20), files=False)
    said(monkeypatch, capsys, "pack", "split", "big", "--batch-size", "10")
    path = root.manifest(BatchKey("big", "batch-0001"))
    part = json.loads(path.read_text(encoding="utf-8"))
    part["presets"] = part["presets"][:8]
    path.write_text(json.dumps(part), encoding="utf-8")
    kept = json.loads(root.manifest(BatchKey("big", "batch-0002")).read_text(encoding="utf-8"))["presets"]
    gone, other = kept[0]["id"], kept[1]["id"]
    ids = [name for name in names(23) if name != gone]
    write_manifest(root, "big", ids, files=False, labels={other: "Other - Label"})
    _, out, _ = said(monkeypatch, capsys, "pack", "split", "big")
    assert out.splitlines()[1:] == [
        f"Note: preset '{gone}' left the root manifest; the batches keep it.",
        f"Note: the root manifest says other things about preset '{other}'; its batch keeps what it has.",
        "Note: 2 presets were taken out of big/batch-0001; those that the root manifest names are in a new batch now.",
        "Next: aivj run big --all-batches",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pack", "split", "nosuch"], "there is no pack 'nosuch' to split (known: big)"),
        (["pack", "split", "a b"], "'a b' cannot name a pack"),
        (["pack", "split", "big", "--batch-size", "0"], "leaves no preset in a batch"),
        (["pack", "split", "big", "--seed", "1", "--in-order"], "give one of the two"),
        (["run", "nosuch", "--all-batches"], "The pack 'nosuch' has no batch under"),
        (["run", "big/batch-0001", "--all-batches"], "name the pack in place of"),
        (["run", "big", "--all-batches", "--only", "frames"], "--only materialises assets of one batch"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    root: DataRoot,
    arguments: list[str],
    says: str,
) -> None:
    write_manifest(root, "big", names(2), files=False)
    status, out, err = said(monkeypatch, capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert not root.is_split("big")
    assert not root.dagster_home.exists()


def test_a_split_pack_says_how_all_of_it_is_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], root: DataRoot
) -> None:
    write_manifest(root, "big", names(2), files=False)
    said(monkeypatch, capsys, "pack", "split", "big")
    status, _, err = said(monkeypatch, capsys, "run", "big")
    assert (status, err.count("\n")) == (2, 1)
    assert "all of them with: aivj run big --all-batches" in err


def test_all_options_reach_every_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], root: DataRoot
) -> None:
    asked: list[tuple[str, BatchOptions]] = []

    def run(_console: object, place: DataRoot, pack: str, options: BatchOptions) -> int:
        assert place == root
        asked.append((pack, options))
        return 1

    monkeypatch.setattr(all_batches, "run_all_and_report", run)
    status, _, _ = said(
        monkeypatch, capsys, "run", "big", "--all-batches", "--k", "9", "--set", "warmupFrames=3", "--retry-failed"
    )
    assert status == 1
    assert asked == [("big", BatchOptions(k=9, render={"warmupFrames": 3, "retryFailed": True}, only=[]))]
