"""`aivj k-report` and its asset on a split pack whose embeddings Dagster's own storage holds as accepted or not."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from aivj_assets.contracts.embeddings import Embeddings, save_embeddings
from aivj_assets.contracts.k_report import K_NOTES, KReport
from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.assets.k_report import k_report, make_report
from aivj_assets.orchestration.commands import pack as pack_command
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.launch import RunOutcome, explain_run
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.resources import DataRootResource, GuardResource
from aivj_assets_tests.builders import (
    embeddings_meta,
    seed_storage,
    write_frames_meta,
    write_index,
    write_manifest,
)
from aivj_assets_tests.integration.orchestration.conftest import Says
from aivj_assets_tests.integration.orchestration.test_search import accept
from aivj_assets_tests.k_report_builders import made_report

PACK = "big"
FIRST, SECOND, THIRD = (f"{PACK}/batch-000{number}" for number in (1, 2, 3))
PRESETS, STYLES, DIM = 48, 6, 16


def write_batch(root: DataRoot, key: str, *, weights: str = "0" * 64, seed: int = 0) -> None:
    """Write a batch of six styles up to its embeddings."""
    ids = [f"{key[-1]}-{number:03d}" for number in range(PRESETS)]
    write_manifest(root, key, ids)
    folder = write_index(root, key, ids, captures=1)
    write_frames_meta(root, key)
    folder.presets_report.write_text("{}", encoding="utf-8")
    centres = np.random.default_rng(9).normal(size=(STYLES, DIM))
    noise = np.random.default_rng(seed).normal(size=(PRESETS, DIM))
    rows = (centres[np.arange(PRESETS) % STYLES] + 0.15 * noise).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    save_embeddings(folder, Embeddings(rows, ids, embeddings_meta(PRESETS, DIM, weights_sha256=weights)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    made = DataRoot(tmp_path_factory.mktemp("k-report") / "root")
    seed_storage(made, tmp_path_factory)
    with open_instance(made, {}) as instance:
        for number, key in enumerate((FIRST, SECOND, THIRD, "lone", "mixed/batch-0001", "mixed/batch-0002")):
            write_batch(made, key, seed=number, weights=("f" if key == "mixed/batch-0002" else "0") * 64)
            if key not in {THIRD, "lone"}:
                accept(instance, made, key)
    return made


def materialized(root: DataRoot, instance: dg.DagsterInstance, pack: str, ks: list[int]) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions(str(PACKS.name), [pack])
    return dg.materialize(
        [k_report], partition_key=pack, instance=instance, raise_on_error=False,
        run_config={"ops": {"k_report": {"config": {"ks": ks}}}},
        resources={"data_root": DataRootResource(path=str(root.path)), "guard": GuardResource()},
    )  # fmt: skip


def test_the_command_reports_over_the_accepted_batches_together(root: DataRoot, says: Says) -> None:
    status, out, err = says("k-report", PACK, "--k", "3,6,12,24", "--seed", "5")
    assert (status, err) == (0, "")
    report = KReport.load(root.k_report(PACK, ".json"))
    assert [(batch.batch, batch.presets) for batch in report.batches] == [(FIRST, PRESETS), (SECOND, PRESETS)]
    assert (report.presets, report.seed, [figure.k for figure in report.figures]) == (2 * PRESETS, 5, [3, 6, 12])
    assert list(report.left_out) == [THIRD]
    assert [left.k for left in report.ks_left_out] == [24]
    # Six styles of sixteen presets each: found, stable, and what more clusters would cut up.
    assert report.recommendation.k == 6
    by_k = {figure.k: figure for figure in report.figures}
    assert by_k[6].stability_ari.value > 0.95 > by_k[12].stability_ari.value
    assert (by_k[6].smallest_cluster, by_k[6].largest_cluster) == (16, 16)
    # Motion rises along each batch, so that every style has presets of every energy.
    assert by_k[6].clusters_by_energy == {"calm": 6, "groove": 6, "peak": 6}
    for words in (f"Batch {THIRD} is left out: 'presets'", "k 24 is left out", "Suggested: k 6", "k-report.html"):
        assert words in out
    assert root.k_report(PACK, ".html").read_text(encoding="utf-8").count("data:image/webp") == len(K_NOTES)
    assert not root.k_report_progress(PACK).exists()


def test_the_asset_shows_curves_and_its_version_is_that_of_the_figures(root: DataRoot) -> None:
    with open_instance(root, {}) as instance:
        result = materialized(root, instance, PACK, [3, 6])
        assert result.success
        (event,) = result.asset_materializations_for_node("k_report")
        again = make_report(instance, root, PACK, [6, 3], seed=1)
    assert (event.tags or {})["dagster/data_version"] == again.digest
    metadata = event.metadata
    assert metadata["suggested_k"].value == 6
    curves = [str(metadata[f"curve_{note.name}"].value) for note in K_NOTES]
    assert all("data:image/webp;base64," in curve and "Does not tell:" in curve for curve in curves)
    assert sum(map(len, curves)) < 300_000
    assert THIRD in str(metadata["batches_left_out"].value)


def test_a_cluster_cooldown_that_a_person_set_decides_which_k_serves(root: DataRoot) -> None:
    settings = root.pack_dir(PACK) / "aivj-pack.json"
    settings.write_text('{"policy": {"selection": {"clusterCooldownSwitches": 6}}}', encoding="utf-8")
    try:
        with open_instance(root, {}) as instance:
            report = make_report(instance, root, PACK, [3, 6], seed=1)
    finally:
        settings.unlink()
    assert report.use.cluster_cooldown_switches == 6
    told = report.recommendation
    assert "to stay away for 6 switches" in " ".join([told.reason, *told.against])


@pytest.mark.parametrize(
    ("pack", "ks", "told"),
    [
        ("lone", [4], "Pack 'lone' has no batch with accepted embeddings (lone: 'presets': it is not materialised"),
        ("mixed", [4], "Embeddings of two models never mix: batch mixed/batch-0001"),
        (PACK, [16], "Pack 'big': too few presets to compare k: k 16 is left out, as 96 presets are fewer than 8"),
        (PACK, [1, 4], "a sweep is over numbers of clusters from 2 up"),
        ("gone", [4], "There is no pack 'gone'"),
    ],
)
def test_what_cannot_be_reported_is_one_line_and_an_earlier_report_stays(
    root: DataRoot, pack: str, ks: list[int], told: str
) -> None:
    with open_instance(root, {}) as instance:
        if not root.k_report(PACK, ".json").exists():
            make_report(instance, root, PACK, [6], seed=1)
        before = root.k_report(PACK, ".json").read_bytes()
        with pytest.raises(UserError) as refused:
            make_report(instance, root, pack, ks, seed=1)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert root.k_report(PACK, ".json").read_bytes() == before
    assert not root.k_report_progress(pack).exists()


def test_a_batch_that_is_embedded_anew_meanwhile_fails_the_run_in_one_line(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root.batch(BatchKey.parse(SECOND))
    original, save = folder.embeddings.read_bytes(), WorkProgress.save

    def touched(self: WorkProgress, path: Path) -> None:
        save(self, path)
        if self.done == self.total:
            folder.embeddings.write_bytes(original[:-4] + b"\0\0\0\0")

    monkeypatch.setattr(WorkProgress, "save", touched)
    try:
        with open_instance(root, {}) as instance:
            result = materialized(root, instance, PACK, [6])
            assert explain_run(instance, result.run_id)[0] == [
                "Pack 'big': a batch was embedded anew meanwhile; make the report again."
            ]
    finally:
        folder.embeddings.write_bytes(original)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nosuch"], "There is no pack 'nosuch'"),
        ([PACK, "--k", "16;32"], "write whole numbers with commas between them"),
        ([PACK, "--k", "1"], "from 2 up"),
        (["a b"], "cannot name a pack"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(says: Says, arguments: list[str], told: str) -> None:
    status, out, err = says("k-report", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_json_is_the_file_and_a_failed_run_is_told_on_the_error_output(
    root: DataRoot, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root.k_report("lone", ".json")
    made_report(pack="lone").save(path)
    monkeypatch.setattr(pack_command, "run_pack_job", lambda *_: RunOutcome("r", success=True))
    status, out, err = says("k-report", "lone", "--json")
    assert (status, err, json.loads(out)) == (0, "", json.loads(path.read_text(encoding="utf-8")))
    monkeypatch.setattr(pack_command, "run_pack_job", lambda *_: RunOutcome("r", success=False, problems=["no row"]))
    assert says("k-report", "lone", "--json") == (1, "", "Failed: no row\n")
    assert says("k-report", "lone") == (1, "Failed: no row\n", "")
    monkeypatch.setattr(pack_command, "run_pack_job", lambda *_: RunOutcome("r", success=False, interrupted=True))
    assert says("k-report", "lone") == (130, "", "Stopped. An earlier report stays as it was.\n")
