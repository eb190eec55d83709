"""`aivj run PACK --all-batches` over real checks, guard and history; rendering and embedding are stood in for."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from aivj_assets.contracts.frames_index import read_records, write_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.preset_file import PresetText, read_manifest_preset
from aivj_assets.contracts.render_parameters import RenderParameters, fingerprint, pixel_parameters
from aivj_assets.errors import EXIT_INTERRUPTED, UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.checks import CHECKS
from aivj_assets.orchestration.commands import all_batches
from aivj_assets.orchestration.commands.all_batches import run_all_and_report
from aivj_assets.orchestration.commands.batch import BatchOptions
from aivj_assets.orchestration.jobs import batch_job, publish_job
from aivj_assets.orchestration.launch import RunOutcome, explain_run
from aivj_assets.orchestration.lineage.acts import LineageActConfig, perform
from aivj_assets.orchestration.partitions import BATCHES, PACKS
from aivj_assets.orchestration.resources import DataRootResource, GuardResource
from aivj_assets.packs.split import split_pack
from aivj_assets.render.environment import BrowserReport
from aivj_assets_tests.builders import PAGE, seed_storage, write_frames_meta, write_index, write_manifest
from aivj_assets_tests.house import House

QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}
BATCH_KEYS = [f"big/batch-000{number}" for number in (1, 2)]


class Machine:
    """Stands for what runs a batch: counts runs, and stops one by Ctrl-C when told to."""

    def __init__(self, root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.runs: list[str] = []
        self.stop_at: str | None = None
        self.browsers = 0
        house = House(root, dg.DagsterInstance.ephemeral())
        house.weights = "a" * 64
        self.defs = dg.Definitions(
            assets=[made for made in house._assets if made not in CHECKS],
            asset_checks=CHECKS,
            jobs=[batch_job, publish_job],
            resources={"data_root": DataRootResource(path=str(root.path)), "guard": GuardResource()},
        )
        monkeypatch.setattr(all_batches, "run_batch", self.run_batch)
        monkeypatch.setattr(all_batches, "run_publication", self.run_publication)
        monkeypatch.setattr(all_batches, "describe_here", self.describe)
        # The model that is stood in for needs no hub.
        monkeypatch.setenv("AIVJ_EMBEDDER", "efficientnet-lite0")

    def render(self, key: str, failed: Mapping[str, str] | None = None) -> None:
        """Put frames into a batch's folder as its rendering would."""
        presets = Manifest.load(self.root.manifest(BatchKey.parse(key))).presets
        folder = write_index(self.root, key, [preset.id for preset in presets], failed=failed)
        digest = fingerprint(pixel_parameters(RenderParameters(), PAGE))
        records = read_records(folder.frames_index)
        for preset in presets:
            text = read_manifest_preset(self.root, preset.rel_path)
            assert isinstance(text, PresetText)
            marks = {"presetSha256": text.sha256, "fingerprint": digest}
            data = records[preset.id].to_json() | marks
            records[preset.id] = type(records[preset.id]).model_validate(data)
        write_records(folder.frames_index, list(records.values()))
        write_frames_meta(self.root, key)

    def describe(self, _parameters: RenderParameters) -> BrowserReport:
        self.browsers += 1
        return BrowserReport(page=PAGE, renderer_class="llvmpipe", browser_version="140.0", flags=())

    def run_batch(
        self, instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, _config: object, **_more: object
    ) -> RunOutcome:
        self.runs.append(batch.key)
        instance.add_dynamic_partitions(str(BATCHES.name), [batch.key])
        instance.add_dynamic_partitions(str(PACKS.name), [batch.pack])
        if batch.key == self.stop_at:
            return RunOutcome("", success=False, interrupted=True)
        return self._execute(instance, "batch_job", batch.key)

    def run_publication(self, instance: dg.DagsterInstance, pack: str) -> RunOutcome:
        self.runs.append("publication")
        return self._execute(instance, "publish_job", pack)

    def _execute(self, instance: dg.DagsterInstance, job: str, partition: str) -> RunOutcome:
        """Run one of the project's jobs in this process, over its assets and checks."""
        result = self.defs.resolve_job_def(job).execute_in_process(
            partition_key=partition, instance=instance, raise_on_error=False, run_config={"loggers": QUIET}
        )
        return RunOutcome(result.run_id, result.success, False, *explain_run(instance, result.run_id))

    def call(self, **options: Any) -> tuple[int, str, list[str]]:
        """Call the command; returns its status, the table and what was run."""
        self.runs, self.browsers = [], 0
        said = io.StringIO()
        status = run_all_and_report(Console(file=said, width=160), self.root, "big", BatchOptions(**options))
        return status, said.getvalue(), self.runs


@pytest.fixture
def machine(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Machine:
    root = DataRoot(tmp_path / "root")
    seed_storage(root, tmp_path_factory)
    write_manifest(root, "big", [f"p{number:03d}" for number in range(12)])
    split_pack(root, "big", batch_size=6)
    return Machine(root, monkeypatch)


def published(root: DataRoot) -> list[str]:
    path = root.published("big", "aivj-style-index.v1.json")
    return [made["batch"] for made in json.loads(path.read_text(encoding="utf-8"))["batches"]] if path.exists() else []


def verdicts(table: str) -> dict[str, str]:
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]
    return {row[0]: row[1] for row in rows if row[0]}


def test_every_batch_has_its_turn_until_all_are_accepted(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    one, two = BATCH_KEYS
    first = Manifest.load(machine.root.manifest(BatchKey.parse(one)))
    machine.render(one, failed={first.presets[0].id: "preset-load-failed"})
    machine.render(two)
    settings = machine.root.pack_dir("big") / "aivj-pack.json"
    settings.write_text('{"clusters": {"k": 3}}', encoding="utf-8")

    # One is rejected and holds up nobody; Ctrl-C in the next.
    machine.stop_at = two
    status, said, runs = machine.call()
    assert (status, runs) == (EXIT_INTERRUPTED, [one, two])
    assert verdicts(said) == {one: "not accepted", two: "incomplete"}
    shown = capfd.readouterr().out
    assert "Batch 1 of 2, big/batch-0001: not accepted" in shown
    assert "Rejected: ok_rate is 0.8333, required >= 0.95. Try: look at the failure reasons" in shown

    # The same command goes on, and publishes once.
    machine.stop_at = None
    status, said, runs = machine.call()
    assert (status, runs) == (1, [one, two, "publication"])
    assert verdicts(said) == {one: "not accepted", two: "accepted"}
    assert "1 of 2 batches accepted" in said
    assert "ok_rate is 0.8333, required >= 0.95" in said
    assert "Try:" not in said
    assert published(machine.root) == [two]

    # Mended, it alone runs; what is accepted is passed over.
    machine.render(one)
    status, said, runs = machine.call()
    assert (status, runs) == (0, [one, "publication"])
    assert published(machine.root) == BATCH_KEYS

    # Nothing to do: no run, no publication, one look at the browser for all batches.
    status, said, runs = machine.call()
    assert (status, runs, machine.browsers) == (0, [], 1)
    assert said.count("was current") == 2
    # Other settings are a reason to run.
    machine.stop_at = one
    assert machine.call(k=5)[2] == [one]
    assert machine.call(k=3)[2] == []
    settings.write_text('{"clusters": {"k": 4}}', encoding="utf-8")
    assert machine.call()[2] == [one]


def test_a_batch_that_was_removed_is_left_out_and_a_failed_run_is_told(machine: Machine) -> None:
    one, two = BATCH_KEYS
    machine.render(one)
    machine.render(two)
    assert machine.call()[0] == 0
    perform(machine.root, LineageActConfig(act="remove", batch=two, reason="taste"))
    status, said, runs = machine.call()
    assert (status, runs) == (0, ["publication"])
    assert "big/batch-0002 was removed from its lineage (taste) and is left out" in said
    assert published(machine.root) == [one]
    # A run that fails is no accepted batch, though what it had before is accepted still.
    machine.root.lineage("main").head.write_text("{", encoding="utf-8")
    status, said, runs = machine.call(k=4)
    assert status == 1
    assert verdicts(said) == {one: "not accepted"}
    assert "head.json" in said


def test_a_batch_whose_manifest_is_torn_ends_only_its_own_turn(machine: Machine) -> None:
    one, two = BATCH_KEYS
    machine.root.manifest(BatchKey.parse(one)).write_text("{", encoding="utf-8")
    machine.stop_at = two
    status, said, runs = machine.call()
    assert (status, runs) == (EXIT_INTERRUPTED, [two])
    assert verdicts(said) == {one: "not accepted", two: "incomplete"}
    assert "is not JSON" in said


def test_a_stop_between_two_batches_is_one_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_more: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(all_batches, "is_finished", interrupted)
    status, said, runs = machine.call()
    assert (status, runs) == (EXIT_INTERRUPTED, [])
    assert said.count("its turn did not come") == 2


@pytest.mark.parametrize(
    ("pack", "only", "says"),
    [
        ("big/batch-0001", (), "name the pack in place of 'big/batch-0001'"),
        ("other", (), r"'other' has no batch under .* \(packs that have: big\)"),
        ("a b", (), "cannot name a pack"),
        ("big", ("frames",), "--only materialises assets of one batch"),
    ],
)
def test_mistakes_are_told_before_anything_runs(machine: Machine, pack: str, only: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        run_all_and_report(Console(file=io.StringIO()), machine.root, pack, BatchOptions(only=only))
    assert machine.runs == []


def test_the_diary_tells_of_every_batch_however_the_command_ends(machine: Machine) -> None:
    one, two = BATCH_KEYS
    first = Manifest.load(machine.root.manifest(BatchKey.parse(one)))
    machine.render(one, failed={first.presets[0].id: "preset-load-failed"})
    machine.stop_at = two
    assert machine.call()[0] == EXIT_INTERRUPTED
    rejected, stopped = machine.root.todos.read_text(encoding="utf-8").splitlines()[-2:]
    assert rejected.startswith("- [ ] big/batch-0001: gates failed: ok_rate 0.8333 (required >= 0.95); to try: ")
    assert stopped.startswith("- [ ] big/batch-0002: incomplete, 0 of 6 presets have a record; ")

    machine.render(one)
    machine.render(two)
    machine.stop_at = None
    assert machine.call()[0] == 0
    told = machine.root.todos.read_text(encoding="utf-8").splitlines()[-2:]
    assert told == [f"- [ ] {key}: QA open <!-- aivj:batch {key} -->" for key in BATCH_KEYS]
