from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from aivj_assets.cli import app as cli
from aivj_assets.cli import bench as cli_bench
from aivj_assets.errors import EXIT_INTERRUPTED, StoppedError, UserError


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["soak", "--presets", "10", "--repeat", "6"], "--presets must be at least 12, not 10"),
        (["library", "nosuch-folder", "--fast"], "nosuch-folder does not exist"),
        (["render", "--source", "nosuch-folder"], "nosuch-folder is no folder"),
        (["render", "--out", "filled", "--presets", "1"], "is not empty"),
        (["growth", "--json", "filled"], "--json filled is a folder; name a file in it"),
    ],
)
def test_a_mistake_is_one_line_and_no_browser_starts(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    says: str,
) -> None:
    (tmp_path / "filled").mkdir()
    (tmp_path / "filled" / "x").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["aivj", "bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().err
    assert ended.value.code == cli.EXIT_USER
    assert says in told
    assert told.count("\n") == 1


def test_json_presets_of_the_web_engine_come_to_folders_without_json(tmp_path: Path) -> None:
    own = tmp_path / "node_modules" / "butterchurn-presets" / "presets" / "converted"
    milk, mixed = tmp_path / "milk", tmp_path / "mixed"
    for folder in (milk, mixed):
        folder.mkdir()
        (folder / "a.milk").touch()
    (mixed / "b.json").touch()
    assert cli_bench.find_sources([milk], tmp_path / "node_modules") == [milk, own]
    assert cli_bench.find_sources([milk, mixed], tmp_path / "node_modules") == [milk, mixed]


def test_another_folder_sample_or_seed_is_another_pack(tmp_path: Path) -> None:
    folders = [tmp_path / "one" / "Presets (old)", tmp_path / "two" / "Presets (old)"]
    names = [cli_bench.library_pack(folder, None, 1) for folder in folders]
    names += [cli_bench.library_pack(folders[0], limit, seed) for limit, seed in ((10, 1), (10, 2), (20, 1))]
    assert len(set(names)) == 5
    assert all(name.startswith("presets-old-") for name in names)
    assert cli_bench.library_pack(folders[0], None, 9) == names[0]


def test_a_temporary_folder_goes_and_a_named_one_stays(tmp_path: Path) -> None:
    with cli_bench.work_folder(None) as folder:
        (folder / "x").touch()
    assert not folder.exists()
    with cli_bench.work_folder(tmp_path / "out") as folder:
        (folder / "x").touch()
    assert (tmp_path / "out" / "x").exists()
    with cli_bench.work_folder(tmp_path / "out", reuse=True) as folder:
        assert folder == (tmp_path / "out").resolve()
    with pytest.raises(UserError, match="is not empty"), cli_bench.work_folder(tmp_path / "out"):
        pass
    with pytest.raises(UserError, match="cannot be used"), cli_bench.work_folder(tmp_path / "out" / "x" / "y"):
        pass


def test_an_interrupted_benchmark_keeps_its_figures_and_tells_by_its_status(tmp_path: Path) -> None:
    with pytest.raises(StoppedError) as ended:
        cli_bench.finish({"ratio": 2.5}, tmp_path / "new" / "x.json", interrupted=True)
    assert ended.value.code == EXIT_INTERRUPTED
    assert json.loads((tmp_path / "new" / "x.json").read_text(encoding="utf-8")) == {"ratio": 2.5}
    cli_bench.finish({"ratio": 2.5}, None, interrupted=False)
