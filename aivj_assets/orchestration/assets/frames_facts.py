"""What the UI shows of a batch's frames: counts, figures, a contact sheet, histograms."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.manifest import ManifestPreset
from aivj_assets.layout import BatchDir
from aivj_assets.orchestration.pictures import counts_table, markdown_table
from aivj_assets.report.pictures import as_markdown_image, contact_sheet, histogram

_SHEET_TILES = 48
_FAILURES_SHOWN = 20
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
        "kept_from_earlier_runs": meta.total - rendered,
        "fingerprint": meta.fingerprint,
        "renderer": str(meta.pixel_parameters.get("renderer", "")),
        "renderer_class": meta.renderer_class,
        "browser": meta.browser_version,
        "failure_reasons": dg.MetadataValue.md(counts_table("reason", meta.failure_reasons)),
        "warnings": dg.MetadataValue.md(counts_table("warning", _top(meta.warnings))),
        "failures": dg.MetadataValue.md(_failure_table(failed, labels)),
    }
    if ok:
        facts["contact_sheet"] = dg.MetadataValue.md(_sheet(folder, ok, labels))
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


def _failure_table(failed: Sequence[FailedRecord], labels: dict[str, str]) -> str:
    rows = [
        (labels.get(record.preset_id, record.preset_id), ", ".join(record.reasons), (record.error_text or "")[:160])
        for record in failed[:_FAILURES_SHOWN]
    ]
    more = f"\n\n… and {len(failed) - len(rows)} more in frames-index.jsonl" if len(failed) > len(rows) else ""
    return markdown_table(("preset", "reasons", "error"), rows) + more if rows else "none"


def _sheet(folder: BatchDir, ok: Sequence[OkRecord], labels: dict[str, str]) -> str:
    """Return a sheet of presets spread evenly over the batch, the middle capture of each."""
    step = max(1, len(ok) // _SHEET_TILES)
    tiles = [
        (record.frames[len(record.frames) // 2], labels.get(record.preset_id, record.preset_id))
        for record in ok[::step][:_SHEET_TILES]
    ]
    return as_markdown_image(
        contact_sheet(folder.path, tiles), limit_bytes=_SHEET_BYTES, alt="contact sheet of captured frames"
    )
