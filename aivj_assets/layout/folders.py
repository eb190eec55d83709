"""The folders of a batch, of a style map and of a lineage, and the files in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from aivj_assets.layout.names import HEAD_NAME, LOCK_NAME, QA_NAME, REPORT_NAME, STYLE_POLICY_NAME, style_index_name


@dataclass(frozen=True)
class BatchDir:
    """A batch's artifact folder and the files in it (CONTRACTS)."""

    path: Path

    @property
    def presets_report(self) -> Path:
        """What validation found, preset by preset."""
        return self.path / REPORT_NAME

    @property
    def frames_index(self) -> Path:
        """`frames-index.jsonl`."""
        return self.path / "frames-index.jsonl"

    @property
    def frames_meta(self) -> Path:
        """Parameters, fingerprint, engine, renderer and counts behind `frames-index.jsonl`."""
        return self.path / "frames.meta.json"

    @property
    def frames_dir(self) -> Path:
        """Captured images, `frames/ab/cd/<idHash>/frame-000.webp`."""
        return self.path / "frames"

    @property
    def shard_logs_dir(self) -> Path:
        """Index lines of a rendering that is under way, one file a shard."""
        return self.path / "frames-shards"

    def logged_records(self) -> int:
        """Return how many whole lines the shard logs hold: how far a rendering under way has come."""
        return sum(path.read_bytes().count(b"\n") for path in self.shard_logs_dir.glob("*.jsonl"))

    @property
    def render_plan(self) -> Path:
        """How many presets the rendering under way has to do: {total, todo}."""
        return self.shard_logs_dir / "plan.json"

    @property
    def lock(self) -> Path:
        """Who works on this batch."""
        return self.path / LOCK_NAME

    @property
    def embedding_progress(self) -> Path:
        """How far an embedding under way has come: {done, total}."""
        return self.path / ".embedding-progress.json"

    @property
    def embeddings(self) -> Path:
        """`embeddings.npy`."""
        return self.path / "embeddings.npy"

    @property
    def embedding_ids(self) -> Path:
        """`ids.txt`."""
        return self.path / "ids.txt"

    @property
    def embeddings_meta(self) -> Path:
        """`embeddings.meta.json`, the model card."""
        return self.path / "embeddings.meta.json"

    @property
    def clusters(self) -> Path:
        """`clusters.v0.json`."""
        return self.path / "clusters.v0.json"

    @property
    def centroids(self) -> Path:
        """`centroids.npy`."""
        return self.path / "centroids.npy"

    def style_index(self, version: str) -> Path:
        """Return `aivj-style-index.<version>.json` (v0 or v1)."""
        return self.path / style_index_name(version)

    @property
    def style_policy(self) -> Path:
        """`aivj-style-policy.v0.json`."""
        return self.path / STYLE_POLICY_NAME

    @property
    def qa_dir(self) -> Path:
        """`qa-samples/`."""
        return self.path / QA_NAME

    @property
    def run_meta(self) -> Path:
        """`run-meta.json`."""
        return self.path / "run-meta.json"

    def frame_folder(self, id_hash: str) -> Path:
        """Return the folder of one preset's frames; `id_hash` is the first 16 hex digits of sha1(presetId)."""
        return self.frames_dir / id_hash[:2] / id_hash[2:4] / id_hash


@dataclass(frozen=True)
class StyleMapDir:
    """The page of a pack's style map and the files beside it; `qa` is the pack's folder `qa-samples`.

    In a pack of one batch the review page lies in the same folder and takes over `PARTS` when it is made anew.
    """

    qa: Path

    PARTS: ClassVar[tuple[str, str]] = ("map.html", "map")

    @property
    def page(self) -> Path:
        """`map.html`."""
        return self.qa / self.PARTS[0]

    @property
    def side(self) -> Path:
        """`map/`: sprite sheets and names that the page loads, and where each preset lies."""
        return self.qa / self.PARTS[1]

    @property
    def files(self) -> StyleMapSide:
        """The files in `map/`."""
        return StyleMapSide(self.side)


@dataclass(frozen=True)
class StyleMapSide:
    """The folder `map/` and the files in it."""

    path: Path

    @property
    def facts(self) -> Path:
        """`style-map.json`."""
        return self.path / "style-map.json"

    @property
    def points(self) -> Path:
        """`points.npy`: where each preset lies."""
        return self.path / "points.npy"

    @property
    def ids(self) -> Path:
        """`ids.txt`: presets in the order of `points.npy`."""
        return self.path / "ids.txt"

    def sheet(self, number: int) -> Path:
        """Return a sprite sheet, `sheet-000.webp`."""
        return self.path / f"sheet-{number:03d}.webp"

    def names(self, number: int) -> Path:
        """Return a part of the presets' names and ids, `names-000.js`."""
        return self.path / f"names-{number:03d}.js"


@dataclass(frozen=True)
class LineageDir:
    """A lineage's folder and the files in it."""

    name: str
    path: Path

    @property
    def head(self) -> Path:
        """`head.json`: which version is in force."""
        return self.path / HEAD_NAME

    @property
    def versions_dir(self) -> Path:
        """The folder of all versions."""
        return self.path / "versions"

    def version(self, number: int) -> Path:
        """Return the folder of one version, `versions/v0003`."""
        return self.versions_dir / f"v{number:04d}"

    @property
    def labels(self) -> Path:
        """`labels.json`: what clusters are called; a label follows its id."""
        return self.path / "labels.json"

    @property
    def prompts(self) -> Path:
        """`prompts.txt`: a person's own list of labels and prompts; the package's holds where there is none."""
        return self.path / "prompts.txt"

    @property
    def energy(self) -> Path:
        """`energy.json`: cut points of motion between calm, groove and peak."""
        return self.path / "energy.json"

    @property
    def removed(self) -> Path:
        """`removed.json`: batches that a person took out."""
        return self.path / "removed.json"

    @property
    def verdicts(self) -> Path:
        """`verdicts.json`: what persons concluded of the clusters, all that was said of them."""
        return self.path / "verdicts.json"

    @property
    def inbox(self) -> Path:
        """`inbox/`: files of verdicts that are put there are imported."""
        return self.path / "inbox"

    @property
    def profile(self) -> Path:
        """`profile.json`: model card and pixel parameters that all batches of the lineage share."""
        return self.path / "profile.json"

    @property
    def profile_lock(self) -> Path:
        """The lock under which the profile is changed."""
        return self.path / ".profile.lock"

    @property
    def lock(self) -> Path:
        """The lock under which the lineage is changed."""
        return self.path / ".lineage.lock"
