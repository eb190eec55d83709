from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from aivj_assets.cli import app as cli

TINY = shlex.split(
    "--steps 3 --first 200 --middle 300 --final 600 --styles 8 --dim 16 --k 4 --major-at 300 --seed 5 --overlap 0.4"
)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["aivj", "bench", "growth", *arguments])
    cli.main()


def test_growth_shows_a_table_and_writes_its_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "new" / "growth.json"
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *TINY, "--strategies", "lineage, warm_start", "--json", str(file))
    assert not ended.value.code
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert [one["strategy"] for one in figures["strategies"]] == ["lineage", "warm_start"]
    assert (figures["plan"]["overlap"], figures["plan"]["seed"], figures["k"], figures["kLimit"]) == (0.4, 5, 4, 8)
    assert sum(figures["batches"]) == 600
    told = " ".join(capsys.readouterr().out.split())
    assert "8 styles, 3 of them late; overlap 0.4, seed 5; 200 to 600 presets in 3 steps; k 4 to at most 8" in told
    assert "lineage: no published id changed outside a major: reached" in told


def test_scale_measures_three_sizes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "scale.json"
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *TINY, "--scale", "--json", str(file))
    assert not ended.value.code
    figures = json.loads(file.read_text(encoding="utf-8"))["figures"]
    assert [one["presets"] for one in figures if one["act"] == "lineage"] == [75, 300, 600]
    assert "a major at 646 presets under 60 s: reached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--strategies", "lineage,kmeans"], "no clustering strategy is named 'kmeans'; there are lineage, minor"),
        (["--strategies", " , "], "--strategies names none"),
        (["--first", "5"], "the first batch must hold a preset a style"),
        (["--final", "100"], "not be larger than the library at the end"),
        (["--k", "201"], "200 embedded presets are fewer than k 201; set a smaller k"),
        (["--k-limit", "3"], "the k limit 3 is below"),
    ],
)
def test_a_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *TINY, "--strategies", "lineage", *arguments)
    told = capsys.readouterr().err
    assert ended.value.code == cli.EXIT_USER
    assert says in told
    assert told.strip().count("\n") == 0
