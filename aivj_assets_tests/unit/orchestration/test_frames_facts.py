"""What the UI shows of flagged and failed presets."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from PIL import Image

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, read_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.assets.frames_facts import failure_table, frames_facts, sheet_sections
from aivj_assets_tests.builders import failed_record, ok_record, write_frames_meta, write_index, write_manifest


def flagged(preset_id: str, *flags: str) -> OkRecord:
    record = ok_record(preset_id, "pack")
    record.metrics.flags = list(flags)
    return record


def test_failures_are_grouped_by_reason_the_commonest_first_with_a_few_examples() -> None:
    failed: list[FailedRecord] = [
        failed_record("slow", "pack", "watchdog", error_text="no answer within 5 s"),
        *(failed_record(f"shader{n}", "pack", "shader-compile-failed", error_text=f"0:{n} | bad") for n in range(7)),
    ]
    rows = failure_table(failed, {"slow": "A slow one"}).splitlines()[2:]
    assert rows[0] == "| shader-compile-failed | 7 | shader0 | 0:0 \\| bad |"
    assert len(rows) == 5 + 1 + 1
    assert "… and 2 more" in rows[5]
    assert rows[6] == "| watchdog | 1 | A slow one | no answer within 5 s |"
    assert failure_table([], {}) == "none"


def test_a_failure_of_two_reasons_stands_under_both() -> None:
    record = failed_record("a", "pack", "watchdog")
    record.reasons.append("render-failed")
    text = failure_table([record], {})
    assert "| watchdog | 1 | a |" in text
    assert "| render-failed | 1 | a |" in text


def test_the_sheet_spreads_over_the_batch_and_shows_each_flagged_preset_once() -> None:
    ok = [ok_record(f"p{number:03d}", "pack") for number in range(100)]
    ok += [flagged("dark", "black", "flat", "static"), flagged("grey", "flat", "static"), flagged("still", "static")]
    failed = [failed_record("bad", "pack", "render-failed", error_text="NaN in every frame")]
    sections = dict(sheet_sections(ok, failed, {"dark": "Dark one"}))
    assert list(sections) == [
        "48 of 103 ok presets", "black: 1 ok presets", "flat: 2 ok presets, 1 of them above",
        "static: 3 ok presets, 2 of them above", "failed, render-failed: 1",
    ]  # fmt: skip
    spread = [tile.caption for tile in sections["48 of 103 ok presets"]]
    assert len(set(spread)) == 48
    assert spread[0] == "p000"
    assert spread[-1] == "Dark one"
    assert [[tile.caption for tile in tiles] for tiles in list(sections.values())[1:4]] == [
        ["Dark one"],
        ["grey"],
        ["still"],
    ]
    (words,) = sections["failed, render-failed: 1"]
    assert (words.caption, words.path, words.words) == ("bad", None, "NaN in every frame")


def picture_of(markdown: object) -> Image.Image:
    found = re.search(r"base64,([A-Za-z0-9+/=]+)", str(markdown))
    assert found
    return Image.open(io.BytesIO(base64.b64decode(found[1])))


def test_metadata_count_flags_and_a_batch_without_an_ok_preset_has_its_failures_on_the_sheet(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    ids = [f"p{number}" for number in range(6)]
    manifest: Manifest = write_manifest(root, "pack", ids)
    folder = write_index(root, "pack", ids, failed={"p5": "watchdog"})
    meta = write_frames_meta(root, "pack").model_copy(update={"flags": {"black": 2, "flat": 2, "static": 3}})
    facts = frames_facts(folder, manifest.presets, meta, 6)
    assert [facts[f"flag_{flag}"] for flag in ("black", "flat", "static")] == [2, 2, 3]
    some = picture_of(facts["contact_sheet"].value)
    assert "motion_histogram" in facts
    write_index(root, "pack", ids, failed=dict.fromkeys(ids, "watchdog"))
    assert all(
        isinstance(record, FailedRecord) for record in read_records(root.batch(BatchKey("pack")).frames_index).values()
    )
    none = frames_facts(folder, manifest.presets, write_frames_meta(root, "pack"), 6)
    assert picture_of(none["contact_sheet"].value).height < some.height
    assert "| watchdog | 6 |" in str(none["failures"].value)
    assert "motion_histogram" not in none
