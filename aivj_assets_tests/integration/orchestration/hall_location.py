"""A code location for the daemon: the project's, but frames and embeddings are made without a browser or a model.

A pack's `motion.txt` says the highest motion of its frames: below 0.06 the gates reject them.
"""

from typing import Any

import dagster as dg

from aivj_assets.contracts.embeddings import save_embeddings
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.definitions import ASSETS, build_definitions
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.automation import with_conditions
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.step import batch_step
from aivj_assets_tests.builders import spread, write_frames_meta, write_index
from aivj_assets_tests.house import House

LOOKS_EVERY_S = 5


@dg.asset(partitions_def=BATCHES, deps=["presets"])
def frames(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
    """Write frames of noise."""
    with batch_step(context, data_root.get(), "frames") as step:
        ids = [preset.id for preset in Manifest.load(step.root.manifest(step.batch)).presets]
        motion = float((step.root.pack_dir(step.batch.pack) / "motion.txt").read_text(encoding="utf-8"))
        write_index(step.root, step.batch.key, ids, motion=spread(len(ids), 0.01, motion))
        write_frames_meta(step.root, step.batch.key)
        return step.result({})


@dg.asset(partitions_def=BATCHES, deps=["presets", "frames"])
def embeddings(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
    """Write seeded vectors."""
    with batch_step(context, data_root.get(), "embeddings") as step:
        save_embeddings(step.folder, embedded(step.root).embedded(step.batch))
        return step.result({})


def embedded(root: DataRoot) -> House:
    house = House(root, dg.DagsterInstance.get())
    house.weights = "a" * 64
    return house


@dg.definitions
def defs() -> dg.Definitions:
    """Return the project's definitions with these two assets in place of its own."""
    own = {"frames": frames, "embeddings": embeddings}
    project = build_definitions()
    for sensor in project.sensors or ():
        # The daemon would look every 20 s.
        sensor._min_interval = LOOKS_EVERY_S
    return dg.Definitions(
        assets=with_conditions([own.get(asset.key.to_user_string(), asset) for asset in ASSETS]),
        asset_checks=project.asset_checks,
        jobs=project.jobs,
        sensors=project.sensors,
        schedules=project.schedules,
        resources=project.resources,
        executor=dg.in_process_executor,
    )
