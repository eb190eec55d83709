"""The hall from presets to publication without a browser or a model: all other assets and checks are the project's."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.embeddings import Embeddings, save_embeddings
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.profile import LineageProfile
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.assets.clusters import clusters
from aivj_assets.orchestration.assets.presets import presets
from aivj_assets.orchestration.assets.publication import publication
from aivj_assets.orchestration.assets.qa_samples import qa_samples
from aivj_assets.orchestration.assets.run_record import run_record
from aivj_assets.orchestration.assets.style import style_index, style_policy
from aivj_assets.orchestration.checks import CHECKS
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.launch import explain_run
from aivj_assets.orchestration.partitions import BATCHES, PACKS
from aivj_assets.orchestration.resources import DataRootResource, GuardResource
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.orchestration.step import batch_step
from aivj_assets_tests.builders import embeddings_meta, write_frames_meta, write_index, write_manifest


class House:
    """A data root whose batches are run with the model and the left-out presets that a test names."""

    def __init__(self, root: DataRoot, instance: dg.DagsterInstance) -> None:
        self.root = root
        self.instance = instance
        self.weights = ""
        self.left_out: Mapping[str, str] = {}
        self.collapsed = False
        self.rows: dict[str, npt.NDArray[np.float32]] = {}
        """Rows of a batch's presets in manifest order, by batch; others have random ones."""
        self._assets = [
            presets, self._frames(), self._embeddings(), clusters, style_index, style_policy, qa_samples, run_record,
            publication, *CHECKS,
        ]  # fmt: skip

    def add(self, batch: BatchKey, count: int = 20) -> list[str]:
        ids = [f"{batch.batch or batch.pack}-p{number:03d}" for number in range(count)]
        write_manifest(self.root, batch.key, ids)
        write_index(self.root, batch.key, ids)
        write_frames_meta(self.root, batch.key)
        self.instance.add_dynamic_partitions(str(BATCHES.name), [batch.key])
        self.instance.add_dynamic_partitions(str(PACKS.name), [batch.pack])
        return ids

    def run(
        self, batch: BatchKey, weights: str, *, left_out: Mapping[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run the batch from its presets to its record, with a model of these weights."""
        self.weights, self.left_out = weights * 64, left_out or {}
        return self.materialize(dg.AssetSelection.assets(*STAGES), batch.key)

    def make(self, batch: BatchKey, stage: str, *, checks: bool) -> dg.ExecuteInProcessResult:
        """Materialise one stage alone, with or without its checks."""
        selection = dg.AssetSelection.assets(stage)
        return self.materialize(selection if checks else selection.without_checks(), batch.key)

    def make_past_the_gates(self, batch: BatchKey, stages: Sequence[str], reason: str) -> dg.ExecuteInProcessResult:
        """Materialise stages with their checks, the bypass open."""
        config = {"resources": {"guard": {"config": {"allow_unaccepted": True, "reason": reason}}}}
        return self.materialize(dg.AssetSelection.assets(*stages), batch.key, run_config=config)

    def judge(self, batch: BatchKey, stage: str) -> dg.ExecuteInProcessResult:
        """Run the checks of a stage alone."""
        job = dg.define_asset_job("judge", selection=dg.AssetSelection.checks_for_assets(stage))
        of_house = dg.Definitions(
            assets=[one for one in self._assets if not isinstance(one, dg.AssetChecksDefinition)],
            asset_checks=CHECKS, jobs=[job], resources={
                "data_root": DataRootResource(path=str(self.root.path)),
                "guard": GuardResource.configure_at_launch(),
            },
        )  # fmt: skip
        return of_house.resolve_job_def("judge").execute_in_process(
            # A job of checks alone takes no partition key, but the UI's tag for it.
            tags={"dagster/partition": batch.key}, instance=self.instance, raise_on_error=False
        )  # fmt: skip

    def publish(self, pack: str) -> dg.ExecuteInProcessResult:
        return self.materialize(dg.AssetSelection.assets("publication"), pack)

    def materialize(
        self,
        selection: dg.AssetSelection,
        partition: str | None,
        tags: Mapping[str, str] | None = None,
        run_config: Mapping[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            self._assets, selection=selection, partition_key=partition, instance=self.instance, raise_on_error=False,
            tags=dict(tags or {}), run_config=run_config,
            resources={
                "data_root": DataRootResource(path=str(self.root.path)),
                "guard": GuardResource.configure_at_launch(),
            },
        )  # fmt: skip

    def told(self, result: dg.ExecuteInProcessResult) -> tuple[list[str], list[str], list[str]]:
        return explain_run(self.instance, result.run_id)

    def accepted(self, batch: BatchKey) -> bool:
        return acceptance_problem(self.instance, self.root, batch, "run_record") is None

    def profile(self, lineage: str = "main") -> LineageProfile:
        return LineageProfile.of(self.root.lineage(lineage))

    def frozen_weights(self) -> str:
        frozen = self.profile().embedding
        assert frozen is not None
        return frozen.card.weights_sha256[0]

    def published(self, pack: str = "big") -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.root.published_files(pack) if path.exists()}

    def _frames(self) -> dg.AssetsDefinition:
        @dg.asset(name="frames", partitions_def=BATCHES, deps=["presets"])
        def frames(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            with batch_step(context, self.root, "frames") as step:
                return step.result({})

        return frames

    def _embeddings(self) -> dg.AssetsDefinition:
        @dg.asset(name="embeddings", partitions_def=BATCHES, deps=["presets", "frames"])
        def embeddings(context: dg.AssetExecutionContext, guard: GuardResource) -> dg.MaterializeResult[Any]:
            with batch_step(context, self.root, "embeddings", guard) as step:
                save_embeddings(step.folder, self.embedded(step.batch))
                return step.result({})

        return embeddings

    def embedded(self, batch: BatchKey) -> Embeddings:
        """Return what stands in for a batch's embeddings."""
        listed = [preset.id for preset in Manifest.load(self.root.manifest(batch)).presets]
        ids = [preset_id for preset_id in listed if preset_id not in self.left_out]
        random = np.random.default_rng(list(batch.key.encode())).normal(size=(len(ids), 16))
        rows = self.rows.get(batch.key, random.astype(np.float32))
        if self.collapsed:
            rows[:, 1:] *= 0.01
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        meta = embeddings_meta(len(ids), 16, weights_sha256=self.weights, left_out=dict(self.left_out))
        return Embeddings(rows, ids, meta)
