from __future__ import annotations

import json
from pathlib import Path

from aivj_assets.contracts.k_report import K_NOTES, KReport
from aivj_assets.contracts.progress import WorkProgress
from aivj_assets_tests.k_report_builders import made_figures, made_report


def test_a_report_survives_its_file_with_camel_case_names_and_what_each_figure_tells(tmp_path: Path) -> None:
    report = made_report(left_out={"big/batch-0002": "not rendered"})
    report.save(tmp_path / "k-report.json")
    raw = json.loads((tmp_path / "k-report.json").read_text(encoding="utf-8"))
    assert raw["version"] == "v0"
    assert raw["figures"][0]["cohesionMedian"] == {"value": 0.55, "control": 0.3}
    assert raw["figures"][0]["clustersByEnergy"] == {"calm": 15, "groove": 16, "peak": 14}
    assert [note["name"] for note in raw["notes"]] == [note.name for note in K_NOTES]
    assert KReport.load(tmp_path / "k-report.json") == report


def test_the_digest_leaves_times_out_and_nothing_else() -> None:
    report = made_report()
    slower = [figure.model_copy(update={"duration_s": 99.0}) for figure in report.figures]
    again = made_report(generated_at="2027-01-01T00:00:00.000Z", duration_s=99.0, figures=slower)
    assert again.digest == report.digest
    assert made_report(seed=2).digest != report.digest
    assert made_report(figures=[made_figures(16), made_figures(32, 0.06)]).digest != report.digest


def test_progress_that_is_torn_or_missing_is_none(tmp_path: Path) -> None:
    path = tmp_path / ".progress.json"
    assert WorkProgress.under_way(path) is None
    WorkProgress(done=2, total=9).save(path)
    found = WorkProgress.under_way(path)
    assert found is not None
    assert (found.done, found.total) == (2, 9)
    path.write_text('{"done": 2', encoding="utf-8")
    assert WorkProgress.under_way(path) is None
