"""A pack's frozen card, and presets that could not be embedded, on the way through the whole hall.

Checks, guard and all assets are the project's own; only the two stages that need a browser or a model are stood in for.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from aivj_assets import cli
from aivj_assets.contracts.embeddings import Embeddings, ModelCard, save_embeddings
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.profile import PackProfile
from aivj_assets.contracts.run_meta import RunMeta
from aivj_assets.contracts.style import StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.assets.clusters import clusters
from aivj_assets.orchestration.assets.presets import presets
from aivj_assets.orchestration.assets.publication import publication
from aivj_assets.orchestration.assets.qa_samples import qa_samples
from aivj_assets.orchestration.assets.run_record import run_record
from aivj_assets.orchestration.assets.style import style_index, style_policy
from aivj_assets.orchestration.checks import CHECKS
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.launch import explain_run
from aivj_assets.orchestration.partitions import BATCHES, PACKS
from aivj_assets.orchestration.profile import refreeze, settle_card
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.orchestration.step import batch_step
from aivj_assets_tests.builders import embeddings_meta, seed_storage, write_frames_meta, write_index, write_manifest

ONE, TWO = BatchKey("big", "batch-0001"), BatchKey("big", "batch-0002")


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
        return self._materialize(dg.AssetSelection.assets(*STAGES), batch.key)

    def publish(self, pack: str) -> dg.ExecuteInProcessResult:
        return self._materialize(dg.AssetSelection.assets("publication"), pack)

    def _materialize(self, selection: dg.AssetSelection, partition: str) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            self._assets, selection=selection, partition_key=partition, instance=self.instance, raise_on_error=False,
            resources={"data_root": DataRootResource(path=str(self.root.path))},
        )  # fmt: skip

    def told(self, result: dg.ExecuteInProcessResult) -> tuple[list[str], list[str], list[str]]:
        return explain_run(self.instance, result.run_id)

    def accepted(self, batch: BatchKey) -> bool:
        return acceptance_problem(self.instance, self.root, batch, "run_record") is None

    def profile(self, pack: str = "big") -> PackProfile:
        return PackProfile.of_pack(self.root, pack)

    def frozen_weights(self, pack: str = "big") -> str:
        frozen = self.profile(pack).embedding
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
        def embeddings(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            with batch_step(context, self.root, "embeddings") as step:
                listed = [preset.id for preset in Manifest.load(self.root.manifest(step.batch)).presets]
                ids = [preset_id for preset_id in listed if preset_id not in self.left_out]
                random = np.random.default_rng(list(step.batch.key.encode())).normal(size=(len(ids), 16))
                rows = self.rows.get(step.batch.key, random.astype(np.float32))
                if self.collapsed:
                    rows[:, 1:] *= 0.01
                rows /= np.linalg.norm(rows, axis=1, keepdims=True)
                meta = embeddings_meta(len(ids), 16, weights_sha256=self.weights, left_out=dict(self.left_out))
                save_embeddings(step.folder, Embeddings(rows, ids, meta))
                return step.result({})

        return embeddings


@pytest.fixture
def root(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    made = DataRoot(tmp_path / "root")
    seed_storage(made, tmp_path_factory)
    return made


@pytest.fixture
def house(root: DataRoot) -> Iterator[House]:
    with open_instance(root, {}) as instance:
        yield House(root, instance)


def card(weights: str) -> ModelCard:
    return embeddings_meta(20, 16, weights_sha256=weights * 64).card


def test_a_pack_of_one_batch_changes_its_model_and_keeps_what_it_had(house: House) -> None:
    """As the demo does: the offline model first, OpenCLIP once there is network."""
    pack = BatchKey("solo")
    house.add(pack, 8)
    assert house.run(pack, "a").success
    frozen = house.profile("solo").embedding
    assert frozen is not None
    assert (frozen.card, frozen.batch, house.profile("solo").history) == (card("a"), "solo", [])
    # Nothing new: the profile is not touched.
    before = house.root.profile("solo").read_bytes()
    settle_card(house.instance, house.root, pack, card("a"))
    assert house.root.profile("solo").read_bytes() == before
    assert house.run(pack, "b").success
    assert house.accepted(pack)
    assert house.frozen_weights("solo") == "b"
    (old,) = house.profile("solo").history
    assert (old.card, old.batch, old.frozen_at) == (card("a"), "solo", frozen.frozen_at)
    assert "no other accepted batch" in old.reason
    assert house.publish("solo").success
    assert len(house.published("solo")) == 4


def test_a_batch_of_another_model_is_refused_until_a_person_refreezes(
    house: House, invoke: Callable[..., tuple[int, str]]
) -> None:
    house.add(ONE, 8)
    house.add(TWO, 8)
    assert house.run(ONE, "a").success
    assert house.publish("big").success
    first = house.published()

    refused = house.run(TWO, "b")
    assert not refused.success
    (sentence,) = house.told(refused)[1]
    for part in (
        "frozen_card", "weights aaaaaaaa", "weights bbbbbbbb", "weightsSha256", str(ONE),
        "aivj profile big --refreeze big/batch-0002",
    ):  # fmt: skip
        assert part in sentence, part
    assert not house.root.batch(TWO).clusters.exists()
    assert house.frozen_weights() == "a"

    for reason in ("", " \n"):
        with pytest.raises(UserError, match="--reason"):
            refreeze(house.instance, house.root, TWO, reason)
    status, said = invoke("profile", "big", "--refreeze", "batch-0002", "--reason", "OpenCLIP can be had now")
    assert status == 0
    assert "big/batch-0001 carries another card" in said
    assert (house.frozen_weights(), [old.reason for old in house.profile().history]) == (
        "b",
        ["OpenCLIP can be had now"],
    )
    # The first batch has the old card: neither it alone nor both together are published.
    stopped = house.publish("big")
    assert not stopped.success
    assert "big/batch-0002 carries the frozen card" in house.told(stopped)[0][0]
    assert house.run(TWO, "b").success
    mixed = house.publish("big")
    assert not mixed.success
    assert re.search(r"never mix: batch big/batch-0001 .* batch big/batch-0002", house.told(mixed)[0][0])
    assert house.published() == first
    # Checked again it fails, embedded again it passes.
    assert not house.run(ONE, "a").success
    assert house.run(ONE, "b").success
    assert house.publish("big").success
    assert len(StyleIndex.load(house.root.published("big", "aivj-style-index.v1.json")).entries) == 16

    status, said = invoke("profile", "big", "--json")
    told = json.loads(said)
    assert status == 0
    assert told["embedding"]["card"]["weightsSha256"] == "b" * 64
    assert [(row["batch"], row["frozen"], row["accepted"]) for row in told["batches"]] == [
        (ONE.key, True, True), (TWO.key, True, True),
    ]  # fmt: skip
    assert [old["card"]["weightsSha256"][0] for old in told["history"]] == ["a"]


@pytest.fixture
def invoke(house: House) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        answer = CliRunner().invoke(cli.app, [*arguments, "--root", str(house.root.path)], env={"COLUMNS": "200"})
        return answer.exit_code, answer.output

    return run


def test_a_card_is_not_lent_by_a_batch_that_is_rejected_for_more(house: House) -> None:
    ids = house.add(TWO)
    house.add(ONE)
    with pytest.raises(UserError, match="it is not materialised"):
        refreeze(house.instance, house.root, TWO, "why not")
    assert house.run(ONE, "a").success
    assert not house.run(TWO, "b", left_out=dict.fromkeys(ids[:2], "frame-000.webp: missing on disk")).success
    with pytest.raises(UserError, match=r"cannot lend its card .* rejected by one_row_per_ok_preset;"):
        refreeze(house.instance, house.root, TWO, "why not")
    assert refreeze(house.instance, house.root, ONE, "the same") is False
    # Two batches on their way at once, whose checks saw nothing frozen yet: the one that is accepted first decides.
    with pytest.raises(UserError, match=r"Batch big/batch-0002: .*big/batch-0001 carries the frozen card"):
        settle_card(house.instance, house.root, TWO, card("b"))
    assert (house.frozen_weights(), house.profile().history) == ("a", [])


def test_one_preset_without_a_row_goes_through_the_whole_hall(house: House) -> None:
    pack = BatchKey("solo")
    ids = house.add(pack)
    gone = {ids[4]: "frame-001.webp: missing on disk"}
    house.collapsed = True
    result = house.run(pack, "a", left_out=gone)
    assert result.success
    # A warning stops nothing and is told as one.
    problems, rejected, warnings = house.told(result)
    assert (problems, rejected) == ([], [])
    assert [sentence.partition(":")[0] for sentence in warnings] == ["collapse"]
    assert house.accepted(pack)
    record = RunMeta.load(house.root.batch(pack).run_meta)
    assert {name: record.counts[name] for name in ("presets", "ok", "embedded", "leftOut", "indexed")} == {
        "presets": 20, "ok": 20, "embedded": 19, "leftOut": 1, "indexed": 19,
    }  # fmt: skip
    assert record.left_out_top == [("missing on disk", 1)]
    assert house.publish("solo").success
    published = StyleIndex.load(house.root.published("solo", "aivj-style-index.v1.json"))
    assert {entry.preset_id for entry in published.entries} == set(ids) - set(gone)
    assert sum(json.loads(house.root.batch(pack).clusters.read_bytes())["clusters"][n]["size"] for n in range(2)) == 19


def test_too_many_presets_without_a_row_reject_the_batch(house: House) -> None:
    pack = BatchKey("solo")
    ids = house.add(pack)
    result = house.run(pack, "a", left_out=dict.fromkeys(ids[:2], "frame-000.webp: cannot be decoded"))
    assert not result.success
    (sentence,) = house.told(result)[1]
    assert "18/20 = 0.9000, required >= 0.95" in sentence
    assert "2 left out with a reason" in sentence
    assert f"{ids[0]} (frame-000.webp: cannot be decoded)" in sentence
    assert not house.root.batch(pack).clusters.exists()
    assert house.profile("solo").embedding is None


def test_a_broken_profile_rejects_and_says_which_file(house: House) -> None:
    pack = BatchKey("solo")
    house.add(pack)
    house.root.profile("solo").write_text("{", encoding="utf-8")
    result = house.run(pack, "a")
    assert not result.success
    (sentence,) = house.told(result)[1]
    assert sentence.startswith("frozen_card: ")
    assert str(house.root.profile("solo")) in sentence
