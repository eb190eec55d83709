"""What the benchmarks share: preset files under a data root of their own, shards over them, what this machine is."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Any

import psutil

from aivj_assets.contracts.render_parameters import (
    RenderParameters,
    fingerprint,
    operational_parameters,
    pixel_parameters,
)
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.render.bench.choose import BenchPreset
from aivj_assets.render.bench.results import Machine
from aivj_assets.render.environment import BrowserReport
from aivj_assets.render.resume import plan_shards
from aivj_assets.render.shard_plan import ShardPlan, ShardPreset

PACK = "bench"


class BenchBatch:
    """Presets copied under a data root, to be rendered into `artifacts/aivj/<name>`, a name for each round."""

    def __init__(self, root: DataRoot, presets: Sequence[BenchPreset]) -> None:
        self._root = root
        self._rel_paths = {preset.preset_id: f"{PACK}/{_file_name(preset)}" for preset in presets}
        folder = root.pack_dir(PACK)
        folder.mkdir(parents=True, exist_ok=True)
        for preset in presets:
            shutil.copyfile(preset.path, folder / _file_name(preset))

    def folder(self, name: str = PACK) -> BatchDir:
        """Return the artifact folder of a round."""
        return self._root.batch(BatchKey(name))

    def shards(
        self,
        presets: Sequence[BenchPreset],
        parameters: RenderParameters,
        report: BrowserReport,
        *,
        workers: int,
        name: str = PACK,
    ) -> list[ShardPlan]:
        """Cut presets into shards, as a run would for so many browsers at once."""
        todo = [
            ShardPreset(preset_id=preset.preset_id, rel_path=self._rel_paths[preset.preset_id]) for preset in presets
        ]
        return plan_shards(
            todo,
            batch_key=name,
            data_root=self._root.path,
            artifact_dir=self.folder(name).path,
            parameters=parameters,
            fingerprint_=fingerprint(pixel_parameters(parameters, report.page)),
            page=report.page,
            parallel=workers,
        )


def describe_machine(report: BrowserReport) -> Machine:
    """Return what this machine and its browser are."""
    return Machine(
        platform=sys.platform,
        cpu_count=psutil.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        browser_version=report.browser_version,
        renderer=report.page.renderer,
        renderer_class=report.renderer_class,
        page=report.page.to_json(),
    )


def all_parameters(parameters: RenderParameters, report: BrowserReport) -> dict[str, Any]:
    """Return the parameters that decide the pictures (`pixel`) and those that do not (`operational`), camelCase."""
    return {"pixel": pixel_parameters(parameters, report.page), "operational": operational_parameters(parameters)}


def _file_name(preset: BenchPreset) -> str:
    return f"{preset.preset_id}{preset.path.suffix.lower()}"
