import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aivj_assets.contracts.clusters import Clusters, cluster_id, load_centroids, save_centroids
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets_tests.builders import write_clusters


@pytest.mark.parametrize(("number", "name"), [(0, "c00"), (7, "c07"), (99, "c99"), (123, "c123")])
def test_ids_have_two_or_more_digits(number: int, name: str) -> None:
    assert cluster_id(number) == name


def test_the_file_has_the_contract_s_fields(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    write_clusters(root, "pack", ["a", "b", "c"])
    path = root.artifacts_dir / "pack" / "clusters.v0.json"
    data = json.loads(path.read_bytes())
    assert {"version", "k", "seed", "strategy", "previous", "clusters", "assignments"} <= set(data)
    assert data["previous"] is None
    assert data["clusters"][0] == {"id": "c00", "size": 2, "centroid": 0, "bornIn": "pack", "label": "x"}
    assert data["assignments"] == {"a": "c00", "b": "c01", "c": "c00"}
    assert Clusters.load(path).to_json() == data


def broken(tmp_path: Path, **change: Any) -> Path:
    root = DataRoot(tmp_path)
    data = write_clusters(root, "pack", ["a", "b", "c"]).to_json() | change
    path = tmp_path / "clusters.v0.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def cluster(name: str, size: int) -> dict[str, Any]:
    return {"id": name, "size": size, "centroid": 0, "bornIn": "p", "label": "x"}


@pytest.mark.parametrize(
    "change",
    [
        {"assignments": {"a": "c00", "b": "c01"}},
        {"assignments": {"a": "c00", "b": "c01", "c": "c07"}},
        {"clusters": [cluster("c00", 2), cluster("c00", 2), cluster("c01", 1)]},
        {"clusters": [cluster("c00", 2), cluster("c01", 1), cluster("c02", 0)]},
        {"clusters": [cluster("c00", 2), cluster("1", 1)]},
        {"clusters": []},
        {"version": "v9"},
        {"k": 0},
    ],
    ids=["size", "unknown id", "twice", "empty cluster", "bad id", "none", "version", "k"],
)
def test_clusters_that_contradict_themselves_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = broken(tmp_path, **change)
    with pytest.raises(UserError, match="is not as agreed"):
        Clusters.load(path)


def test_centroids_read_back_as_float32(tmp_path: Path) -> None:
    path = tmp_path / "centroids.npy"
    save_centroids(path, np.eye(2, 3))  # type: ignore[arg-type]
    loaded = load_centroids(path)
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, np.eye(2, 3))


def test_missing_and_broken_centroids_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "centroids.npy"
    for prepare in (lambda: None, lambda: path.write_bytes(b"rubbish"), lambda: path.write_bytes(b"")):
        prepare()
        with pytest.raises(UserError, match="materialise clusters again"):
            load_centroids(path)
