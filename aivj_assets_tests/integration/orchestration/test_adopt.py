"""A folder of an earlier tool becomes the baseline of a lineage: gated, recorded, killed in the middle, repeated."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from typer.testing import CliRunner

from aivj_assets.cli import app as cli
from aivj_assets.cli.adopt import adopt
from aivj_assets.contracts.adoption import Adoption
from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.embeddings import Embeddings, EmbeddingsMeta
from aivj_assets.contracts.frames_index import read_records, write_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.preset_file import PresetText, read_manifest_preset
from aivj_assets.contracts.style import StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.adopt import adoption as adopting
from aivj_assets.orchestration.adopt import model as adopt_model
from aivj_assets.orchestration.adopt.adoption import ADOPTED_STAGES, AdoptOptions, AdoptOutcome, adopt_pack
from aivj_assets.orchestration.adopt.kept import require_not_adopted
from aivj_assets.orchestration.adopt.model import NamedModel
from aivj_assets.orchestration.batch_lock import acquire_batch
from aivj_assets.orchestration.commands.adopt import REMAINING_STAGES
from aivj_assets.orchestration.guard import acceptance_problem, latest_materialization
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.launch import explain_run
from aivj_assets.orchestration.lineage.acts import replay
from aivj_assets.orchestration.lineage.store import Lineage
from aivj_assets.orchestration.partitions import BATCHES, PACKS
from aivj_assets.orchestration.stages import STAGES
from aivj_assets_tests.adopt_builders import DIM, OldFolder, key_of, write_old_folder
from aivj_assets_tests.builders import (
    embeddings_meta,
    preset_entry,
    write_embeddings,
    write_frames_meta,
    write_index,
    write_manifest,
)
from aivj_assets_tests.house import House

TWO = BatchKey("second")


class AdoptHouse(House):
    """A data root into which a folder is adopted, and in which what follows is made by the project's own assets."""

    def __init__(self, root: DataRoot, instance: dg.DagsterInstance) -> None:
        super().__init__(root, instance)
        self.given: dict[str, tuple[list[str], np.ndarray[Any, Any], dict[str, Any]]] = {}

    def adopt(self, old: OldFolder, **more: Any) -> AdoptOutcome:
        options = AdoptOptions(folder=old.path, **more)
        return adopt_pack(self.instance, self.root, key_of(old), options, lambda *_: None)

    def finish(self, old: OldFolder) -> None:
        """What `aivj adopt` lets the main job do."""
        assert self.materialize(dg.AssetSelection.assets(*REMAINING_STAGES), old.pack).success

    def published_ids(self, pack: str) -> dict[str, str]:
        """Publish a pack; returns {presetId: cluster id}."""
        assert self.materialize(dg.AssetSelection.assets("publication"), pack).success
        index = StyleIndex.load(self.root.published(pack, "aivj-style-index.v1.json"))
        return {entry.preset_id: entry.author_key for entry in index.entries}

    def add_second(self, old: OldFolder, like: dict[str, str], new: int) -> None:
        """Add a pack whose presets are copies of adopted ones (`like` {new id: adopted id}) and some of its own."""
        ids = [*like, *(f"second-n{number:02d}" for number in range(new))]
        write_manifest(self.root, "second", ids)
        for own, adopted in like.items():
            data = self.root.preset_file(preset_entry(adopted, old.pack).rel_path).read_bytes()
            self.root.preset_file(preset_entry(own, "second").rel_path).write_bytes(b"\xef\xbb\xbf" + data)
        folder = write_index(self.root, "second", ids)
        records = read_records(folder.frames_index)
        for preset_id in ids:
            text = read_manifest_preset(self.root, preset_entry(preset_id, "second").rel_path)
            assert isinstance(text, PresetText)
            records[preset_id] = records[preset_id].model_copy(update={"preset_sha256": text.sha256})
        write_records(folder.frames_index, records.values())
        write_frames_meta(self.root, "second")
        self.instance.add_dynamic_partitions(str(BATCHES.name), ["second"])
        self.instance.add_dynamic_partitions(str(PACKS.name), ["second"])
        own_rows = np.random.default_rng(8).normal(size=(new, DIM)).astype(np.float32)
        # The earlier tool may have dealt a copy's picture elsewhere: its id follows the content, not the row.
        rows = np.concatenate([old.rows[[old.ids.index(name) for name in like.values()]], own_rows])
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        self.given["second"] = (ids, rows, {})

    def run_with(self, batch: BatchKey, **card: Any) -> dg.ExecuteInProcessResult:
        ids, rows, _ = self.given[batch.key]
        self.given[batch.key] = (ids, rows, card)
        return self.materialize(dg.AssetSelection.assets(*STAGES), batch.key)

    def problem(self, old: OldFolder, stage: str = "run_record") -> str | None:
        return acceptance_problem(self.instance, self.root, key_of(old), stage)

    def ids_of(self, old: OldFolder) -> dict[str, str]:
        return Clusters.load(self.root.batch(key_of(old)).clusters).assignments

    def in_force(self) -> Lineage | None:
        return Lineage.open(self.root.lineage("main"))

    def embedded(self, batch: BatchKey) -> Embeddings:
        ids, rows, card = self.given[batch.key]
        return Embeddings(rows, ids, embeddings_meta(len(ids), DIM, **card))


@pytest.fixture
def house(root: DataRoot) -> Iterator[AdoptHouse]:
    with open_instance(root, {}) as instance:
        yield AdoptHouse(root, instance)


@pytest.fixture
def old(root: DataRoot, tmp_path: Path) -> OldFolder:
    return write_old_folder(root, "big", tmp_path / "tool")


def contents(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def test_an_adopted_batch_is_accepted_and_its_ids_stay(house: AdoptHouse, old: OldFolder) -> None:
    before = contents(old.path)
    outcome = house.adopt(old, reason="what the 2k show was made with")
    assert (outcome.in_force, outcome.rejected, outcome.copied) == (True, [], 72)
    assert house.problem(old, "clusters") is None
    assert house.ids_of(old) == old.assignments
    lineage = house.in_force()
    assert lineage is not None
    facts = lineage.facts
    assert (facts.number, facts.kind, facts.strategy, lineage.keys) == (1, "baseline", "adopted", ["big"])
    assert facts.reason == "what the 2k show was made with"
    assert replay(lineage.folder) == []
    for stage in ADOPTED_STAGES:
        found = latest_materialization(house.instance, stage, "big")
        assert found is not None
        assert found[1].metadata["adopted_from"].value == "big"
    assert house.instance.get_runs() == []
    # What follows is made by the main job, and the pack can be published.
    house.finish(old)
    assert house.problem(old) is None
    assert house.published_ids("big") == old.assignments
    assert contents(old.path) == before
    assert all((house.root.batch(key_of(old)).path / name).read_bytes() == data for name, data in before.items()
               if name.startswith("frames/"))  # fmt: skip


def test_another_pack_with_the_same_presets_keeps_their_ids(house: AdoptHouse, old: OldFolder) -> None:
    house.adopt(old)
    house.finish(old)
    like = {f"second-c{number:02d}": old.ids[number] for number in range(9)}
    house.add_second(old, like, new=5)
    assert house.run_with(TWO).success
    assigned = Clusters.load(house.root.batch(TWO).clusters).assignments
    assert {own: assigned[own] for own in like} == {own: old.assignments[adopted] for own, adopted in like.items()}
    lineage = house.in_force()
    assert lineage is not None
    assert (lineage.facts.number, lineage.keys, lineage.facts.changed) == (2, ["big", "second"], 0)
    assert len(lineage.version) == 24 + 5
    assert set(assigned.values()) <= {"c00", "c07", "c12"} | {f"c{number}" for number in range(13, 20)}
    assert house.published_ids("big") == old.assignments
    # Adopting again finds it done, though the lineage has gone on.
    again = house.adopt(old)
    assert (again.is_new, again.in_force) == (False, True)
    assert house.published_ids("second") == assigned


def test_adopting_twice_changes_nothing(house: AdoptHouse, old: OldFolder) -> None:
    house.adopt(old)
    house.finish(old)
    place = house.root.path
    before = {name: data for name, data in contents(place).items() if not name.startswith(".dagster")}
    events = house.instance.event_log_storage.get_maximum_record_id()
    again = house.adopt(old)
    assert (again.is_new, again.in_force, again.copied) == (False, True, 0)
    assert {name: data for name, data in contents(place).items() if not name.startswith(".dagster")} == before
    assert house.instance.event_log_storage.get_maximum_record_id() == events
    assert house.problem(old) is None


STOPPED_AT: dict[str, str] = {
    "before frames": "copy_frames",
    "before the index": "write_bytes_atomic",
    "before frames are recorded": "frames_facts",
    "before embeddings": "save_embeddings",
    "before the version": "stage",
    "before the batch's clusters": "write_batch_clusters",
    "before the head": "put_in_force",
}


@pytest.mark.parametrize("where", STOPPED_AT)
def test_stopped_in_the_middle_it_goes_on(
    house: AdoptHouse, old: OldFolder, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(adopting, STOPPED_AT[where], stop)
        with pytest.raises(KeyboardInterrupt):
            house.adopt(old)
    assert house.in_force() is None
    outcome = house.adopt(old)
    assert (outcome.in_force, outcome.is_new) == (True, True)
    assert outcome.copied == (72 if where == "before frames" else 0)
    assert house.ids_of(old) == old.assignments
    assert house.problem(old, "clusters") is None
    lineage = house.in_force()
    assert lineage is not None
    assert (lineage.facts.number, replay(lineage.folder)) == (1, [])


def test_a_rejected_adoption_is_recorded_and_not_in_force(root: DataRoot, house: AdoptHouse, tmp_path: Path) -> None:
    ids = [f"big-p{number:03d}" for number in range(24)]
    old = write_old_folder(root, "big", tmp_path / "tool", same_first_frame=ids[:8], luma=[0.5] * 24)
    outcome = house.adopt(old)
    assert [sentence.partition(" ")[0] for sentence in outcome.rejected] == ["top_same", "luma_range"]
    assert not outcome.in_force
    assert house.in_force() is None
    problem = house.problem(old)
    assert problem is not None
    assert "'frames': it is rejected by top_same, luma_range" in problem
    assert latest_materialization(house.instance, "embeddings", "big") is None
    assert house.adopt(old).rejected == outcome.rejected
    # The tool was run again: its folder takes the place of the one that was rejected.
    better = write_old_folder(root, "big", tmp_path / "tool2")
    assert house.adopt(better).in_force
    assert house.problem(better, "clusters") is None
    assert house.ids_of(better) == better.assignments


def test_rows_of_an_unknown_model_stay_alone_until_it_is_named(
    house: AdoptHouse, old: OldFolder, tmp_path: Path
) -> None:
    old.place.embeddings_meta.unlink()
    assert house.adopt(old).in_force
    house.finish(old)
    house.add_second(old, {"second-c00": old.ids[0]}, new=7)
    refused = house.run_with(TWO, weights_sha256="b" * 64)
    assert not refused.success
    (told,) = explain_run(house.instance, refused.run_id)[1]
    for part in ("test-model", "weights bbbbbbbb", "adopted", "aivj adopt PACK --from FOLDER --embedder NAME"):
        assert part in told, part
    named = tmp_path / "card.json"
    EmbeddingsMeta.load(house.root.batch(TWO).embeddings_meta).save(named)
    outcome = house.adopt(old, card=named)
    assert outcome.in_force
    house.finish(old)
    assert house.ids_of(old) == old.assignments
    assert house.published_ids("big") == old.assignments
    assert house.run_with(TWO, weights_sha256="b" * 64).success
    assert Clusters.load(house.root.batch(TWO).clusters).assignments["second-c00"] == old.assignments[old.ids[0]]
    # It is named once.
    embeddings_meta(3, DIM, weights_sha256="c" * 64).save(named)
    with pytest.raises(UserError, match=r"adopted with the card of test-model .* already"):
        house.adopt(old, card=named)


def test_the_model_may_be_loaded_and_held_against_the_rows(
    house: AdoptHouse, old: OldFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Model:
        card = embeddings_meta(1, DIM, weights_sha256="d" * 64).card

    asked: list[list[str]] = []

    def as_if_embedded(_model: Any, sample: Any, _named: str) -> int:
        asked.append([path.name for path in sample[0].frames])
        return 2

    monkeypatch.setattr(NamedModel, "load", lambda *_: Model)
    monkeypatch.setattr(adopt_model, "frames_behind_rows", as_if_embedded)
    with pytest.raises(UserError, match=r"says that its rows are of test-model .*0000.*, not of test-model .*dddd"):
        house.adopt(old, model=NamedModel("test-model"))
    old.place.embeddings_meta.unlink()
    outcome = house.adopt(old, model=NamedModel("test-model"))
    assert outcome.in_force
    assert not any("--embedder" in note for note in outcome.notes)
    meta = EmbeddingsMeta.load(house.root.batch(key_of(old)).embeddings_meta)
    assert (meta.weights_sha256, meta.max_frames_per_preset, meta.frames) == ("d" * 64, 2, 48)
    assert asked[-1] == ["frame-000.webp", "frame-001.webp", "frame-002.webp"]
    Model.card = embeddings_meta(1, 7).card
    with pytest.raises(UserError, match="they have 12 dimensions, the model 7"):
        house.adopt(old, model=NamedModel("test-model"))


def test_what_clusters_were_called_goes_on(house: AdoptHouse, old: OldFolder) -> None:
    named = [{"id": "c00", "label": "c00"}, {"id": "c07", "label": "blue tunnels"}, {"id": "c12"}]
    old.write_clusters(clusters=named)
    assert house.adopt(old).in_force
    labels = {one.id: one.label for one in Clusters.load(house.root.batch(key_of(old)).clusters).clusters}
    assert labels["c07"] == "blue tunnels"
    lineage = house.in_force()
    assert lineage is not None
    assert lineage.labels == labels


def test_clusters_without_a_preset_and_copies_are_told(house: AdoptHouse, old: OldFolder) -> None:
    for copy in old.ids[3:5]:
        data = house.root.preset_file(preset_entry(old.ids[0], "big").rel_path).read_bytes()
        house.root.preset_file(preset_entry(copy, "big").rel_path).write_bytes(data)
    numbers = {"c00": 8, "c07": 8, "c12": 8, "c30": 0}
    old.write_clusters(clusters=[{"id": name, "size": size, "bornIn": "2019"} for name, size in numbers.items()])
    outcome = house.adopt(old)
    assert outcome.in_force
    # p003 is dealt to c00 like p000; p004 was in c07 and follows the first copy.
    assert house.ids_of(old) == {**old.assignments, old.ids[4]: "c00"}
    assert any("1 presets are copies of others by content" in note for note in outcome.notes)
    lineage = house.in_force()
    assert lineage is not None
    assert [line.id for line in lineage.facts.retirements] == ["c30"]
    assert lineage.version.state.next_number == 31
    assert Clusters.load(house.root.batch(key_of(old)).clusters).clusters[0].born_in == "2019"


def test_what_is_there_already_is_not_taken_over(house: AdoptHouse, old: OldFolder, tmp_path: Path) -> None:
    place = house.root.batch(key_of(old))
    write_index(house.root, "big", old.ids)
    write_embeddings(house.root, "big", old.ids)
    with pytest.raises(UserError, match=r"has artifacts of its own \(frames-index.jsonl, embeddings.npy in"):
        house.adopt(old)
    place.frames_index.unlink()
    place.embeddings.unlink()
    place.shard_logs_dir.mkdir()
    (place.shard_logs_dir / "s0000_x.jsonl").touch()
    with pytest.raises(UserError, match="half rendered"):
        house.adopt(old)
    (place.shard_logs_dir / "s0000_x.jsonl").unlink()
    with pytest.raises(UserError, match="lies in the pack's own artifact folder"):
        adopt_pack(house.instance, house.root, key_of(old), AdoptOptions(place.path / "x"), lambda *_: None)
    assert Adoption.of(place) is None
    assert house.adopt(old).in_force
    write_records(place.frames_index, list(read_records(place.frames_index).values())[::-1])
    with pytest.raises(UserError, match="has been rendered since it was adopted from big"):
        house.adopt(old)


def test_a_lineage_that_has_begun_is_not_begun_again(house: AdoptHouse, old: OldFolder, tmp_path: Path) -> None:
    house.adopt(old)
    other = write_old_folder(house.root, "other", tmp_path / "tool")
    with pytest.raises(UserError, match=r"Lineage 'main' has version 1 already \('big'\).*lineage of its own"):
        house.adopt(other)
    assert not house.root.batch(key_of(other)).path.exists()
    settings = house.root.pack_dir("other") / "aivj-pack.json"
    settings.write_text(json.dumps({"lineage": "museum", "clusters": {"k": 5, "seed": 3}}), encoding="utf-8")
    assert house.adopt(other).in_force
    assert Lineage.open(house.root.lineage("museum")) is not None
    # Another folder for a batch that is in force.
    changed = write_old_folder(house.root, "big", tmp_path / "tool3")
    changed.write_clusters(dict.fromkeys(changed.ids, "c03"))
    with pytest.raises(UserError, match=r"adopted from big already, and clusters.v0.json of .* is another"):
        house.adopt(changed)


def test_a_running_batch_is_left_alone(house: AdoptHouse, old: OldFolder) -> None:
    place = house.root.batch(key_of(old))
    acquire_batch(place.lock, batch="big", run_id="r1", owner_pid=os.getppid(), run_is_over=lambda _: False)
    with pytest.raises(UserError, match="is being worked on by run r1"):
        house.adopt(old)
    place.lock.unlink()
    run = house.instance.create_run_for_job(
        dg.job(name="batch_job")(lambda: None), tags={"dagster/partition": "big"}, status=dg.DagsterRunStatus.STARTING
    )
    with pytest.raises(UserError, match=f"is being worked on by run {run.run_id}"):
        house.adopt(old)
    house.instance.report_run_canceled(run)
    assert house.adopt(old).in_force


def test_adopted_frames_are_not_rendered_over_by_accident(house: AdoptHouse, old: OldFolder) -> None:
    require_not_adopted(house.root, key_of(old), "0" * 16)
    house.adopt(old)
    with pytest.raises(UserError, match=r"was adopted from big, and this machine would render other pictures"):
        require_not_adopted(house.root, key_of(old), "0" * 16)
    require_not_adopted(house.root, key_of(old), "0" * 16, resume=False)
    stored = FramesMeta.load(house.root.batch(key_of(old)).frames_meta)
    require_not_adopted(house.root, key_of(old), stored.fingerprint)


@pytest.fixture
def invoke(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    # The command tells its runs' processes by this variable where the data root is.
    monkeypatch.setenv("AIVJ_ROOT", str(root.path))
    if not any(command.callback is adopt for command in cli.app.registered_commands):
        cli.app.command("adopt")(adopt)

    def run(*arguments: str) -> tuple[int, str]:
        answer = CliRunner().invoke(cli.app, [*arguments, "--root", str(root.path)], env={"COLUMNS": "200"})
        if isinstance(answer.exception, UserError):
            return 2, str(answer.exception)
        return answer.exit_code, answer.output

    return run


def test_the_command_ends_with_a_published_pack(
    root: DataRoot, old: OldFolder, invoke: Callable[..., tuple[int, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    status, said = invoke("adopt", "nobody", "--from", str(old.path))
    assert (status, "There is no batch 'nobody'" in said) == (2, True)
    status, said = invoke("adopt", "big", "--from", str(old.path), "--lineage-reason", "the first show")
    said += capfd.readouterr().out
    assert status == 0, said
    for part in ("24 ok presets of 24 with 72 frames", "3 clusters", "baseline", "accepted", "aivj-*.json"):
        assert part in said, part
    index = StyleIndex.load(root.published("big", "aivj-style-index.v1.json"))
    assert {entry.preset_id: entry.author_key for entry in index.entries} == old.assignments
    status, said = invoke("adopt", "big", "--from", str(old.path))
    assert status == 0
    assert "Everything is there and current: nothing to do." in said + capfd.readouterr().out
    status, said = invoke("gates", "big")
    assert status == 0
    assert "yes" in said
