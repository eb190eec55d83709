"""What publication writes beside a pack's artifacts: `run-manifest.json` and `quality-blacklist.json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from aivj_assets.contracts.quality_blacklist import QualityBlacklist
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.packs.blacklist import update_blacklist
from aivj_assets.packs.rendered import RenderedBatch
from aivj_assets.packs.run_manifest import build_run_manifest


def write_pack_files(
    root: DataRoot, pack: str, batches: Sequence[RenderedBatch], warn: Callable[[str], None]
) -> dict[str, Any]:
    """Write both files from a pack's accepted batches; returns their counts and paths as metadata.

    What the app fetches rests on neither: a blacklist that is malformed stays as it is, and `warn` is told.
    """
    run = build_run_manifest(root, pack, batches)
    run.save_if_changed(root.run_manifest(pack))
    counts = run.counts
    facts: dict[str, Any] = {
        "run_manifest": dg.MetadataValue.path(str(root.run_manifest(pack))),
        "run_presets": counts.total,
        "run_ok_strict": counts.tier1_ok,
        "run_ok_dark": counts.tier2_ok,
        "run_failed": counts.failed,
        "run_skipped": counts.skipped,
        "run_distinct_presets": counts.unique_presets,
        "quality_blacklist": dg.MetadataValue.path(str(root.quality_blacklist(pack))),
    }
    try:
        blacklist = update_blacklist(QualityBlacklist.of_pack(root, pack), batches)
    except UserError as error:
        warn(f"The blacklist of pack '{pack}' is not brought up to date: {error}")
        return {**facts, "blacklisted": "not brought up to date: the file is malformed"}
    blacklist.save_if_changed(root.quality_blacklist(pack))
    ours = blacklist.aivj_entries
    return {
        **facts,
        "blacklisted": len(ours),
        "blacklisted_by_others": len(set(blacklist.bad_ids) - {entry.preset_id for entry in ours})
        + len(set(blacklist.bad_source_rel_paths) - {entry.listed_path for entry in ours}),
        "blacklisted_without_source_path": sum(entry.source_rel_path is None for entry in ours),
    }
