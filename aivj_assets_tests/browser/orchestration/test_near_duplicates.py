"""Re-saved presets, rendered: they are found among others of a real library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.qa_duplicates import DUPLICATES_NAME, QaDuplicates
from aivj_assets.contracts.run_meta import RunMeta
from aivj_assets.layout import BatchKey

RESAVED, CHANGED = "Geiss - Casino", "Geiss - Flower Blossom"


def write(preset: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(preset, sort_keys=True, indent=1), encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_re_saved_and_hardly_changed_presets_are_found_among_others(fresh, presets_source, tmp_path) -> None:
    converted = presets_source / "presets" / "converted"
    source = tmp_path / "library"
    # Without shaders of their own, so that gamma counts.
    plain = [path for path in sorted(converted.glob("Geiss - *.json")) if not read(path).get("comp")][:14]
    for path in plain:
        write(read(path), source / path.name)
    resaved, changed = (read(converted / f"{title}.json") for title in (RESAVED, CHANGED))
    resaved["baseVals"]["rating"] = 1.5
    changed["baseVals"]["gammaadj"] = 1.04 * changed["baseVals"]["gammaadj"]
    write(resaved, source / "mine" / "saved anew.json")
    write(changed, source / "mine" / "a little brighter.json")
    assert fresh("pack", "import", str(source), "--pack", "twice").returncode == 0
    done = fresh.run("twice")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = fresh.batch("twice")
    found = QaDuplicates.load(folder.qa_dir / DUPLICATES_NAME)
    labels = {preset.id: preset.label for preset in Manifest.load(fresh.root.manifest(BatchKey("twice"))).presets}
    groups = {
        frozenset(labels[one.preset_id] for one in group.presets): [one.exact for one in group.presets[1:]]
        for group in found.groups
    }
    assert groups == {frozenset({RESAVED, "saved anew"}): [True], frozenset({CHANGED, "a little brighter"}): [False]}
    counts = RunMeta.load(folder.run_meta).counts
    assert (counts["exactDuplicates"], counts["nearDuplicates"]) == (1, 1)
    assert counts["unique"] + counts["misfits"] + 2 == counts["embedded"]
