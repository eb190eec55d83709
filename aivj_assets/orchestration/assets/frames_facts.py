"""What the UI shows of a batch's frames: counts, figures, a contact sheet, histograms."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from aivj_assets.contracts.frames_index import FLAGS, FailedRecord, OkRecord, read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.manifest import ManifestPreset
from aivj_assets.layout import BatchDir
from aivj_assets.orchestration.pictures import counts_table, markdown_table
from aivj_assets.report.pictures import Tile, as_markdown_image, histogram, sectioned_sheet

_SHEET_TILES = 48
_TILES_PER_FLAG, _TILES_PER_REASON, _REASONS_IN_SHEET = 8, 8, 6
_EXAMPLES_PER_REASON = 5
# Dagster stores metadata with the event: all of a materialisation's pictures stay under 300 KB together.
_SHEET_BYTES, _HISTOGRAM_BYTES = 180_000, 40_000


def frames_facts(
    folder: BatchDir, presets: Sequence[ManifestPreset], meta: FramesMeta, rendered: int
) -> dict[str, Any]:
    """Return the metadata of `frames`: parameters, counts, reasons, sheet of a spread of presets, histograms."""
    records = read_records(folder.frames_index)
    labels = {preset.id: preset.label for preset in presets}
    ok = [record for record in records.values() if isinstance(record, OkRecord)]
    failed = [record for record in records.values() if isinstance(record, FailedRecord)]
    facts: dict[str, Any] = {
        "presets": meta.total,
        "ok": meta.ok,
        "failed": meta.failed,
        "rendered_now": rendered,
        "duration_s": meta.duration_s,
        "kept_from_earlier_runs": meta.total - rendered,
        "fingerprint": meta.fingerprint,
        "renderer": str(meta.pixel_parameters.get("renderer", "")),
        "renderer_class": meta.renderer_class,
        "browser": meta.browser_version,
        **{f"flag_{flag}": count for flag, count in meta.flags.items()},
        "failure_reasons": dg.MetadataValue.md(counts_table("reason", meta.failure_reasons)),
        "warnings": dg.MetadataValue.md(counts_table("warning", _top(meta.warnings))),
        "failures": dg.MetadataValue.md(failure_table(failed, labels)),
    }
    sheet = sectioned_sheet(folder.path, sheet_sections(ok, failed, labels))
    facts["contact_sheet"] = dg.MetadataValue.md(
        as_markdown_image(sheet, limit_bytes=_SHEET_BYTES, alt="contact sheet of captured frames, flags and failures")
    )
    if ok:
        for name, values in (
            ("avgLuma", [record.metrics.avg_luma for record in ok]),
            ("motion", [record.metrics.motion for record in ok]),
        ):
            picture = histogram(values, 30, title=f"{name} of {len(ok)} ok presets", x_label=name)
            facts[f"{name}_histogram"] = dg.MetadataValue.md(
                as_markdown_image(picture, limit_bytes=_HISTOGRAM_BYTES, alt=f"histogram of {name}")
            )
    # Last: long lists would hide the rest.
    facts["pixel_parameters"] = dg.MetadataValue.json(meta.pixel_parameters)
    facts["operational_parameters"] = dg.MetadataValue.json(meta.operational_parameters)
    return facts


def _top(counts: dict[str, int], limit: int = 20) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: -item[1])[:limit])


def _by_reason(failed: Sequence[FailedRecord]) -> list[tuple[str, list[FailedRecord]]]:
    """Return (reason, its records), the commonest first; a record of several reasons stands under each."""
    found: dict[str, list[FailedRecord]] = {}
    for record in failed:
        for reason in dict.fromkeys(record.reasons):
            found.setdefault(reason, []).append(record)
    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


def failure_table(failed: Sequence[FailedRecord], labels: Mapping[str, str]) -> str:
    """Return failures by reason: how many, and a few examples of each with what the renderer said."""
    rows: list[tuple[object, ...]] = []
    for reason, records in _by_reason(failed):
        for number, record in enumerate(records[:_EXAMPLES_PER_REASON]):
            head = ("", "") if number else (reason, len(records))
            rows.append((*head, labels.get(record.preset_id, record.preset_id), (record.error_text or "")[:160]))
        if len(records) > _EXAMPLES_PER_REASON:
            rows.append(("", "", f"… and {len(records) - _EXAMPLES_PER_REASON} more in frames-index.jsonl", ""))
    return markdown_table(("reason", "presets", "for example", "what was said"), rows) if rows else "none"


def sheet_sections(
    ok: Sequence[OkRecord], failed: Sequence[FailedRecord], labels: Mapping[str, str]
) -> list[tuple[str, list[Tile]]]:
    """Return the contact sheet's sections: presets spread over the batch, flagged ones, failures by reason."""
    count = min(_SHEET_TILES, len(ok))
    spread = [ok[number * len(ok) // count] for number in range(count)]
    sections = [(f"{len(spread)} of {len(ok):,} ok presets", [_picture(record, labels) for record in spread])]
    shown: set[str] = set()
    for flag in FLAGS:
        flagged = [record for record in ok if flag in (record.metrics.flags or ())]
        # A black picture is flat too, and mostly static: each preset stands under its first flag.
        first = [record for record in flagged if record.preset_id not in shown]
        shown.update(record.preset_id for record in flagged)
        also = f", {len(flagged) - len(first):,} of them above" if len(first) < len(flagged) else ""
        tiles = [_picture(record, labels) for record in first[:_TILES_PER_FLAG]]
        sections.append((f"{flag}: {len(flagged):,} ok presets{also}", tiles))
    for reason, records in _by_reason(failed)[:_REASONS_IN_SHEET]:
        tiles = [
            Tile(labels.get(record.preset_id, record.preset_id), words=record.error_text or "nothing was said")
            for record in records[:_TILES_PER_REASON]
        ]
        sections.append((f"failed, {reason}: {len(records):,}", tiles))
    return sections


def _picture(record: OkRecord, labels: Mapping[str, str]) -> Tile:
    """Return a tile of a preset's middle capture."""
    return Tile(labels.get(record.preset_id, record.preset_id), record.frames[len(record.frames) // 2])
