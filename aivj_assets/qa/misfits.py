"""Presets that show nothing: black, or of one colour, in every capture. For review: dark presets exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from aivj_assets.contracts.frames_index import OkRecord, picture_flags
from aivj_assets.contracts.qa_duplicates import Misfit
from aivj_assets.layout import BatchDir
from aivj_assets.qa.picture_hash import read_capture

MisfitFlag = Literal["black", "flat"]
_FLAGS: tuple[MisfitFlag, ...] = ("black", "flat")


def find_misfits(folder: BatchDir, records: Mapping[str, OkRecord], assignments: Mapping[str, str]) -> list[Misfit]:
    """Return the clustered presets that are `black` or `flat`, the darkest first.

    What rendering recorded counts. The captures are read only of presets that another tool rendered and recorded no
    flags for; one with a capture that cannot be read is no misfit.
    """
    found = []
    for preset_id, cluster in assignments.items():
        record = records[preset_id]
        flags = record.metrics.flags
        kept = _measured(folder, record) if flags is None else [flag for flag in _FLAGS if flag in flags]
        if kept:
            found.append(
                Misfit(
                    preset_id=preset_id,
                    cluster=cluster,
                    flags=kept,
                    avg_luma=record.metrics.avg_luma,
                    frame=record.frames[(len(record.frames) - 1) // 2],
                )
            )
    return sorted(found, key=lambda misfit: (misfit.avg_luma, misfit.preset_id))


def _measured(folder: BatchDir, record: OkRecord) -> list[MisfitFlag]:
    """Return the flags of captures on disk; the first one that shows something ends it."""
    means, stds = [], []
    for name in record.frames:
        capture = read_capture(folder.path / name)
        if capture is None:
            return []
        means.append(capture.mean)
        stds.append(capture.std)
        if not picture_flags(means, stds):
            return []
    return picture_flags(means, stds)
