"""`aivj bench map` on a small library, with a real browser."""

import json
import sys
from pathlib import Path

import pytest

from aivj_assets.cli import app as cli

pytestmark = [pytest.mark.browser, pytest.mark.alone]


def test_it_measures_places_page_and_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    figures_file = tmp_path / "figures.json"
    command = ["aivj", "bench", "map", "--points", "300", "--frames", "5", "--json", str(figures_file)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out = capfd.readouterr().out
    assert ended.value.code in {0, None}, out
    figures = json.loads(figures_file.read_text(encoding="utf-8"))
    assert figures["points"] == 300
    places = figures["places"]
    assert set(places) == {"first", "grown", "anew"}
    assert all(one["cpu_s"] > 0 and one["peak_bytes"] > 1e6 for one in places.values())
    assert places["grown"]["moved_median_fraction"] < places["anew"]["moved_median_fraction"]
    assert 0.5 < places["grown"]["trustworthiness"] <= 1
    assert 0 < figures["page"]["page_bytes"] < 5e6
    browser = figures["browser"]
    assert browser["frame_ms_p95"] >= browser["frame_ms_median"] > 0
    assert "SwiftShader" in browser["renderer"]
    for words in ("Places of 300 presets", "begun from the first", "first picture after", "MB beside it"):
        assert words in " ".join(out.split())
