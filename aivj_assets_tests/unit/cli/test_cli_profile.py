"""`aivj profile`: a mistake is one line."""

import sys
from pathlib import Path

import pytest

from aivj_assets.cli import app as cli
from aivj_assets.layout import DataRoot
from aivj_assets_tests.builders import write_manifest


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nosuch"], "There is no pack or lineage 'nosuch'"),
        (["a b"], "'a b' cannot name a lineage"),
        (["big", "--reason", "x"], "--reason goes with --refreeze BATCH"),
        (["big", "--refreeze", "other/batch-0001", "--reason", "x"], "Lineage 'main' has no batch other/batch-0001"),
        (
            ["big", "--refreeze", "batch-0009", "--reason", "x"],
            "Lineage 'main' has no batch big/batch-0009 (known: big/batch-0001)",
        ),
        (["big", "--refreeze", "0001", "--reason", "x"], "Lineage 'main' has no batch 0001"),
    ],
)
def test_a_mistake_is_one_line_and_touches_no_storage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], says: str
) -> None:
    write_manifest(DataRoot(tmp_path), "big/batch-0001", ["a"])
    monkeypatch.setattr(sys, "argv", ["aivj", "profile", *arguments, "--root", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (cli.EXIT_USER, "")
    assert says in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / ".dagster").exists()
