import json
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.clusters import Cluster, Clusters
from aivj_assets.contracts.frames_index import FailedRecord, FrameMetrics, OkRecord, id_hash
from aivj_assets.contracts.manifest import Manifest, ManifestPreset
from aivj_assets.contracts.style import Energy, StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.style.index import author_slug, build_style_index_v0, build_style_index_v1, check_style_index

NOW = "2026-01-31T12:00:00.000Z"
LABELS = {
    "p1": "Rovastar - Slow Drift",
    "p2": "Flexi + Geiss - hyper strobe",
    "p3": "untitled",
    "p4": "Ødegård - Möbius",
    "p5": "martin - not rendered",
}
ENERGIES: dict[str, Energy] = {"p1": "peak", "p2": "calm", "p3": "groove", "p4": "groove"}


@pytest.fixture
def manifest() -> Manifest:
    presets = [
        ManifestPreset(
            id=preset_id,
            label=label,
            rel_path=f"starter/{preset_id}.json",
            url=f"/presets/starter/{preset_id}.json",
            pack="starter",
            file_name=f"{preset_id}.json",
            file_size=1,
        )
        for preset_id, label in LABELS.items()
    ]
    return Manifest(
        version="v0",
        generated_at=NOW,
        source_root="x",
        total_files_scanned=5,
        total_presets_included=5,
        presets=presets,
    )


@pytest.fixture
def clusters() -> Clusters:
    return Clusters(
        k=2,
        seed=1,
        strategy="versioned",
        previous=None,
        clusters=[
            Cluster(id="c00", size=3, centroid=0, born_in="starter", label="c00"),
            Cluster(id="c01", size=1, centroid=1, born_in="starter", label="c01"),
        ],
        assignments={"p4": "c00", "p1": "c00", "p2": "c01", "p3": "c00"},
    )


@pytest.fixture
def records() -> dict[str, OkRecord | FailedRecord]:
    ok: dict[str, OkRecord | FailedRecord] = {
        name: OkRecord(
            preset_id=name,
            rel_path="x",
            file_path="x",
            id_hash=id_hash(name),
            frames=["f"],
            metrics=FrameMetrics(avg_luma=0.5, motion=0.1),
        )
        for name in ("p1", "p2", "p3", "p4")
    }
    ok["p5"] = FailedRecord(preset_id="p5", rel_path="x", file_path="x", reasons=["probe-timeout"])
    return ok


def test_v1_holds_every_clustered_preset_with_its_cluster_and_motion_tier(
    manifest: Manifest, clusters: Clusters, records: dict[str, OkRecord | FailedRecord], tmp_path: Path
) -> None:
    index = build_style_index_v1(
        "starter", clusters, records=records, manifest=manifest, energies=ENERGIES, generated_at=NOW
    )
    index.save(tmp_path / "index.json")
    written = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    assert {key: written[key] for key in ("version", "generatedAt", "pack")} == {
        "version": "v1",
        "generatedAt": NOW,
        "pack": "starter",
    }
    assert written["entries"] == [
        {
            "presetId": "p1",
            "authorKey": "c00",
            "energy": "peak",
            "tags": ["cluster:c00", "energy:peak", "author:rovastar"],
        },
        {
            "presetId": "p2",
            "authorKey": "c01",
            "energy": "calm",
            "tags": ["cluster:c01", "energy:calm", "author:flexi-geiss"],
        },
        {"presetId": "p3", "authorKey": "c00", "energy": "groove", "tags": ["cluster:c00", "energy:groove"]},
        {
            "presetId": "p4",
            "authorKey": "c00",
            "energy": "groove",
            "tags": ["cluster:c00", "energy:groove", "author:degard"],
        },
    ]
    assert all(finding.passed for finding in check_style_index(written, ["p1", "p2", "p3", "p4"]))


def test_v0_rests_on_names_alone(manifest: Manifest, clusters: Clusters) -> None:
    index = build_style_index_v0("starter", clusters, manifest=manifest, generated_at=NOW)
    assert [(entry.preset_id, entry.author_key, entry.energy) for entry in index.entries] == [
        ("p1", "rovastar", "calm"),
        ("p2", "flexi-geiss", "peak"),
        ("p3", "unknown", "groove"),
        ("p4", "degard", "groove"),
    ]
    assert index.version == "v0"
    assert not any(tag.startswith("cluster:") for entry in index.entries for tag in entry.tags)


def test_clusters_of_another_version_of_the_batch_are_refused(
    manifest: Manifest, clusters: Clusters, records: dict[str, OkRecord | FailedRecord]
) -> None:
    def build(**changed: Any) -> StyleIndex:
        given: dict[str, Any] = {"records": records, "manifest": manifest, "energies": ENERGIES, **changed}
        return build_style_index_v1("starter", clusters, generated_at=NOW, **given)

    failed = FailedRecord(preset_id="p2", rel_path="x", file_path="x", reasons=["watchdog"])
    with pytest.raises(UserError, match="no frames in the index: 'p2'"):
        build(records={**records, "p2": failed})
    with pytest.raises(UserError, match="no energy: 'p3'"):
        build(energies={name: energy for name, energy in ENERGIES.items() if name != "p3"})
    shorter = manifest.model_copy(update={"presets": manifest.presets[1:]})
    with pytest.raises(UserError, match="no place in the manifest: 'p1'"):
        build(manifest=shorter)


@pytest.mark.parametrize(
    ("label", "slug"),
    [("Geiss - Artifact", "geiss"), ("no author", None), ("作者 - 題", None), (" $!_ - x", None), ("É.X - y", "e-x")],
)
def test_author_slugs(label: str, slug: str | None) -> None:
    assert author_slug(label) == slug


def entry(preset_id: str, **changed: Any) -> dict[str, Any]:
    return {"presetId": preset_id, "authorKey": "c00", "energy": "calm", "tags": [], **changed}


@pytest.mark.parametrize(
    ("entries", "failed"),
    [
        ([entry("a"), entry("b")], set()),
        ([entry("a")], {"coverage"}),
        ([entry("a"), entry("b"), entry("x")], {"coverage"}),
        ([entry("a"), entry("b"), entry("b")], {"no_duplicates"}),
        ([entry("a"), entry("b", energy="wild")], {"contract", "energies_legal"}),
        ([entry("a"), entry("b", authorKey="")], {"contract"}),
        ([entry("a"), "b"], {"contract", "coverage"}),
        ([], {"coverage", "energies_legal"}),
        (None, {"contract", "coverage", "energies_legal"}),
    ],
)
def test_findings_about_an_index(entries: Any, failed: set[str]) -> None:
    written = {"version": "v1", "generatedAt": NOW, "pack": "starter", "entries": entries}
    findings = check_style_index(written, ["a", "b"])
    assert {finding.name for finding in findings if not finding.passed} == failed
