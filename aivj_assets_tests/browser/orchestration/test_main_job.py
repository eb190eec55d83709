"""The main job end to end on real presets: what a user finds afterwards, and what a second run does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import dagster as dg
import numpy as np
from PIL import Image

from aivj_assets.contracts.clusters import Clusters, load_centroids
from aivj_assets.contracts.embeddings import load_embeddings
from aivj_assets.contracts.frames_index import OkRecord, id_hash, read_records
from aivj_assets.contracts.gates import GATES
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.qa_index import QaIndex
from aivj_assets.contracts.run_meta import RunMeta
from aivj_assets.contracts.style import StyleIndex, StylePolicy
from aivj_assets.layout import BatchKey
from aivj_assets.orchestration.guard import latest_materialization
from aivj_assets.orchestration.stages import STAGES


def open_instance(root: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(root / ".dagster"))


def test_summary_names_counts_gates_clusters_and_places(finished) -> None:
    text = finished.output
    assert "accepted" in text
    for gate in GATES:
        assert gate.name in text
        assert f"{gate.comparison} {gate.threshold:g}" in text
    assert "clusters" in text
    assert "qa-samples" in text
    assert "aivj ui" in text


def test_every_preset_has_a_record_and_ok_presets_have_their_frames(finished) -> None:
    root, folder = finished.cli.root, finished.cli.batch(finished.key)
    manifest = Manifest.load(root.manifest(BatchKey(finished.key)))
    records = read_records(folder.frames_index)
    assert list(records) == [preset.id for preset in manifest.presets]
    ok = [record for record in records.values() if isinstance(record, OkRecord)]
    assert len(ok) >= 23
    for record in ok:
        assert record.id_hash == id_hash(record.preset_id)
        assert len(record.frames) == 2
        for frame in record.frames:
            with Image.open(folder.path / frame) as image:
                assert (image.format, image.size) == ("WEBP", (64, 64))


def test_artifacts_agree_with_each_other(finished) -> None:
    folder = finished.cli.batch(finished.key)
    ok = [key for key, record in read_records(folder.frames_index).items() if isinstance(record, OkRecord)]
    embeddings = load_embeddings(folder)
    assert embeddings.preset_ids == ok
    assert np.allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, atol=1e-4)
    clusters = Clusters.load(folder.clusters)
    assert set(clusters.assignments) == set(ok)
    assert load_centroids(folder.centroids).shape == (clusters.k, embeddings.meta.dim)
    v1 = StyleIndex.load(folder.style_index("v1"))
    assert {entry.preset_id: entry.author_key for entry in v1.entries} == clusters.assignments
    energies = [entry.energy for entry in v1.entries]
    assert (
        max(map(energies.count, ("calm", "groove", "peak"))) - min(map(energies.count, ("calm", "groove", "peak"))) <= 1
    )
    qa = QaIndex.load(folder.qa_dir / "index.json")
    assert all((folder.qa_dir / copy.dest).read_bytes() == (folder.path / copy.rel).read_bytes() for copy in qa.copied)


def test_only_publication_writes_below_public_and_the_app_can_read_it(finished) -> None:
    root, folder = finished.cli.root, finished.cli.batch(finished.key)
    made = sorted(path.name for path in root.pack_dir(finished.key).glob("aivj-*"))
    assert made == [
        "aivj-clusters.v0.json", "aivj-style-index.v0.json", "aivj-style-index.v1.json", "aivj-style-policy.v0.json",
    ]  # fmt: skip
    published = StyleIndex.load(root.published(finished.key, "aivj-style-index.v1.json"))
    # What publication adds is what the cluster is called.
    labels = {cluster.id: cluster.label for cluster in Clusters.load(folder.clusters).clusters}
    plain = [
        entry.model_copy(update={"tags": [tag for tag in entry.tags if not tag.startswith("label:")]})
        for entry in published.entries
    ]
    assert plain == StyleIndex.load(folder.style_index("v1")).entries
    for entry in published.entries:
        named = [tag for tag in entry.tags if tag.startswith("label:")]
        assert len(named) == (labels[entry.author_key] != entry.author_key), entry
    policy = StylePolicy.load(root.published(finished.key, "aivj-style-policy.v0.json"))
    assert policy.motion_thresholds.calm_max == 0.42
    assert policy.profile_map["peakRave"] == "peak"


def test_run_record_holds_parameters_versions_renderer_gates_and_an_open_verdict(finished) -> None:
    record = RunMeta.load(finished.cli.batch(finished.key).run_meta)
    assert record.pixel_parameters["warmupFrames"] == 8
    assert record.pixel_parameters["renderer"]
    assert record.operational_parameters["timeoutMs"] == 30_000
    assert {line.gate for line in record.gates} == {gate.name for gate in GATES}
    assert all(line.passed for line in record.gates)
    assert record.packages["dagster"].startswith("1.13.")
    assert set(record.durations_s) == set(STAGES["run_record"].inputs)
    assert record.qa.state == "open"


def test_metadata_shows_pictures_small_enough_for_the_ui_and_the_run_carries_the_fingerprint(finished) -> None:
    record = RunMeta.load(finished.cli.batch(finished.key).run_meta)
    with open_instance(finished.cli.root.path) as instance:
        run = instance.get_run_by_id(record.run_id)
        assert run is not None
        assert run.tags["aivj/fingerprint"] == record.fingerprint
        for stage, picture in (("frames", "contact_sheet"), ("clusters", "projection"), ("qa_samples", "sheet")):
            found = latest_materialization(instance, stage, finished.key)
            assert found is not None
            metadata = found[1].metadata
            assert "data:image/" in str(metadata[picture].value)
            size = sum(len(str(value.value)) for value in metadata.values())
            assert size < 300_000, (stage, size)


def test_a_second_run_renders_nothing_and_changes_no_file(copied) -> None:
    folder = copied.batch("live")
    public = copied.root.pack_dir("live")
    kept = ("**/*.webp", "*.jsonl", "*.npy", "aivj-*.json", "clusters.v0.json", "frames.meta.json", "ids.txt")

    def digests() -> dict[str, str]:
        paths = [path for place in (folder.path, public) for pattern in kept for path in place.glob(pattern)]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    before = digests()
    again = copied.run("live")
    assert again.returncode == 0, again.stdout + again.stderr
    assert digests() == before
    with open_instance(copied.root.path) as instance:
        found = latest_materialization(instance, "frames", "live")
        assert found is not None
        assert found[1].metadata["rendered_now"].value == 0


def test_gates_as_json_say_that_the_batch_is_accepted(finished) -> None:
    told = finished.cli("gates", finished.key, "--json")
    assert told.returncode == 0
    (row,) = json.loads(told.stdout)
    assert row["accepted"] is True
    assert [gate["gate"] for gate in row["gates"]] == [gate.name for gate in GATES]
