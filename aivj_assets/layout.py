"""Where everything lies under the data root, and how files get there whole.

Nothing else in the project composes a path of the data root. The functions here take the environment as an argument;
importing the module reads nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from aivj_assets.errors import UserError

DATA_ROOT_VARIABLE = "AIVJ_ROOT"
MANIFEST_NAME = "library-manifest.json"
BATCHES_NAME = "batches"
PUBLISHED_PREFIX = "aivj-"
DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
STYLE_POLICY_NAME = "aivj-style-policy.v0.json"
PUBLISHED_CLUSTERS_NAME = "aivj-clusters.v0.json"
LOCK_NAME = ".batch-lock.json"
QA_NAME = "qa-samples"

_REPLACED_BATCHES_NAME = ".batches.old"
_HEAD_NAME = "head.json"
_REPORT_NAME = "presets-report.json"
_BLACKLIST_NAME = "quality-blacklist.json"
_PACK_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BATCH_PATTERN = re.compile(r"batch-[0-9]{4,}")
_WINDOWS_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
# Windows refuses to replace a file that another process (a virus scanner, a viewer) holds open for a moment.
_REPLACE_ATTEMPTS = 10
_REPLACE_WAIT_S = 0.1


def project_root() -> Path:
    """Return the checkout's folder: the one that holds the package `aivj_assets`."""
    return Path(__file__).resolve().parent.parent


def resolve_data_root(environ: Mapping[str, str]) -> DataRoot:
    """Return the data root that `AIVJ_ROOT` names, by default the project's root."""
    named = environ.get(DATA_ROOT_VARIABLE, "").strip()
    return DataRoot(Path(named).expanduser().resolve() if named else project_root())


def web_engine_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder in which the npm packages of the render page are installed (shared by all data roots)."""
    named = environ.get("AIVJ_WEB_ENGINE_DIR", "").strip()
    return Path(named).expanduser().resolve() if named else project_root() / ".aivj" / "web-engine"


@dataclass(frozen=True, order=True)
class BatchKey:
    """A batch of presets: a whole pack (`starter`) or one part of a split pack (`big/batch-0001`)."""

    pack: str
    batch: str | None = None

    @classmethod
    def parse(cls, key: str) -> BatchKey:
        """Parse a partition key; raises `UserError` when it is not `<pack>` or `<pack>/batch-0001`."""
        pack, separator, batch = key.partition("/")
        if separator and not _BATCH_PATTERN.fullmatch(batch):
            raise UserError(f"'{key}' is no batch: expected <pack> or <pack>/batch-0001.")
        return cls(check_pack_name(pack), batch or None)

    @property
    def key(self) -> str:
        """The partition key."""
        return f"{self.pack}/{self.batch}" if self.batch else self.pack

    def __str__(self) -> str:
        return self.key


def _is_pack_name(name: str) -> bool:
    return bool(_PACK_PATTERN.fullmatch(name)) and not _WINDOWS_RESERVED.fullmatch(name) and not name.endswith(".")


def style_index_name(version: str) -> str:
    """Return `aivj-style-index.<version>.json` (v0 or v1)."""
    return f"aivj-style-index.{version}.json"


def check_pack_name(pack: str) -> str:
    """Return `pack` when it can be a folder name everywhere; raises `UserError` otherwise."""
    if not _is_pack_name(pack):
        raise UserError(
            f"'{pack}' cannot name a pack: use letters, digits, '.', '_' and '-', starting with a letter or digit."
        )
    return pack


def _batches_in(folder: Path) -> list[BatchKey]:
    parts = folder / BATCHES_NAME
    if parts.is_dir():
        return [
            BatchKey(folder.name, part.name)
            for part in parts.iterdir()
            if _BATCH_PATTERN.fullmatch(part.name) and (part / MANIFEST_NAME).is_file()
        ]
    # While one split takes the place of another there is no `batches/`: that makes the whole no batch.
    whole = (folder / MANIFEST_NAME).is_file() and not (folder / _REPLACED_BATCHES_NAME).is_dir() and not parts.is_dir()
    return [BatchKey(folder.name)] if whole else []


@dataclass(frozen=True)
class DataRoot:
    """The data root and the places below it (CONTRACTS: Places)."""

    path: Path

    @property
    def presets_dir(self) -> Path:
        """`public/presets`: packs and their preset files; every `relPath` is relative to it."""
        return self.path / "public" / "presets"

    @property
    def artifacts_dir(self) -> Path:
        """`artifacts/aivj`: what the platform makes, a folder a pack."""
        return self.path / "artifacts" / "aivj"

    @property
    def lineages_dir(self) -> Path:
        """`artifacts/lineages`: cluster ids that packs share, a folder a lineage."""
        return self.path / "artifacts" / "lineages"

    def lineage(self, name: str) -> LineageDir:
        """Return the folder of a lineage; raises `UserError` when the name cannot be a folder name everywhere."""
        if not _is_pack_name(name):
            raise UserError(
                f"'{name}' cannot name a lineage: use letters, digits, '.', '_' and '-', starting with a letter or "
                "digit."
            )
        return LineageDir(name, self.lineages_dir / name)

    def find_lineages(self) -> list[str]:
        """Return the names of the lineages that have a version, sorted."""
        if not self.lineages_dir.is_dir():
            return []
        return sorted(place.name for place in self.lineages_dir.iterdir() if (place / _HEAD_NAME).is_file())

    @property
    def dagster_home(self) -> Path:
        """`.dagster`: Dagster's own storage."""
        return self.path / ".dagster"

    @property
    def execution_status(self) -> Path:
        """`EXECUTION_STATUS.local.md`: the diary, a section a batch; a person writes around them."""
        return self.path / "EXECUTION_STATUS.local.md"

    @property
    def todos(self) -> Path:
        """`TODOS.local.md`: a line a batch; a person writes around them."""
        return self.path / "TODOS.local.md"

    @property
    def diary_lock(self) -> Path:
        """The lock under which the diary is changed."""
        return self.path / ".aivj" / "diary.lock"

    @property
    def embedding_cache_dir(self) -> Path:
        """`.aivj/embeddings`: vectors of frames by their content, shared by all packs; may be deleted at any time."""
        return self.path / ".aivj" / "embeddings"

    @property
    def own_dir(self) -> Path:
        """`.aivj`: what the platform keeps for itself."""
        return self.path / ".aivj"

    @property
    def checked_weights(self) -> Path:
        """`.aivj/checked-weights.json`: weights that were loaded on this machine; may be deleted at any time."""
        return self.own_dir / "checked-weights.json"

    def pack_dir(self, pack: str) -> Path:
        """Return `public/presets/<pack>`, where the manifest lies and the app fetches its JSON."""
        return self.presets_dir / check_pack_name(pack)

    def import_report(self, pack: str) -> Path:
        """Return the path of `import-report.json` beside the pack's manifest."""
        return self.pack_dir(pack) / "import-report.json"

    def import_lock(self, pack: str) -> Path:
        """Return the path of the lock that keeps two imports out of one pack."""
        return self.pack_dir(pack) / ".import.lock"

    def imported_files_dir(self, pack: str) -> Path:
        """Return `public/presets/<pack>/files`, where imported preset files lie."""
        return self.pack_dir(pack) / "files"

    def batches_dir(self, pack: str) -> Path:
        """Return `public/presets/<pack>/batches`; a pack that has it is split."""
        return self.pack_dir(pack) / BATCHES_NAME

    def new_batches_dir(self, pack: str) -> Path:
        """Return the hidden folder in which a split is written before it takes the place of `batches/`."""
        return self.pack_dir(pack) / ".batches.new"

    def replaced_batches_dir(self, pack: str) -> Path:
        """Return the hidden folder of a split that gives way to another; while it is there, the pack is split."""
        return self.pack_dir(pack) / _REPLACED_BATCHES_NAME

    def is_split(self, pack: str) -> bool:
        """Whether a pack is split: its root manifest is then no batch."""
        return self.batches_dir(pack).is_dir() or self.replaced_batches_dir(pack).is_dir()

    def manifest(self, batch: BatchKey) -> Path:
        """Return the path of a batch's `library-manifest.json`."""
        folder = self.pack_dir(batch.pack)
        return (folder / BATCHES_NAME / batch.batch if batch.batch else folder) / MANIFEST_NAME

    def batch(self, batch: BatchKey) -> BatchDir:
        """Return the artifact folder of a batch."""
        folder = self.artifacts_dir / batch.pack
        return BatchDir(folder / batch.batch if batch.batch else folder)

    def run_manifest(self, pack: str) -> Path:
        """Return the path of `run-manifest.json`: every preset of the pack's accepted batches and how it came out."""
        return self.artifacts_dir / check_pack_name(pack) / "run-manifest.json"

    def quality_blacklist(self, pack: str) -> Path:
        """Return the path of `quality-blacklist.json`: presets of the pack that failed for good."""
        return self.artifacts_dir / check_pack_name(pack) / _BLACKLIST_NAME

    def find_quality_blacklists(self) -> dict[str, Path]:
        """Return {pack: its `quality-blacklist.json`} of the packs that have one, sorted."""
        found = sorted(self.artifacts_dir.glob(f"*/{_BLACKLIST_NAME}"))
        return {path.parent.name: path for path in found if _is_pack_name(path.parent.name)}

    def gate_report(self, suffix: str) -> Path:
        """Return the path of `gates.json` or `gates.html`: which batch stands where, over all packs."""
        return self.artifacts_dir / f"gates{suffix}"

    def search_page(self, pack: str, stem: str) -> Path:
        """Return the path of the page that shows what a search found, `artifacts/aivj/<pack>/search/<stem>.html`."""
        return self.artifacts_dir / check_pack_name(pack) / "search" / f"{stem}.html"

    def k_report(self, pack: str, suffix: str) -> Path:
        """Return the path of `k-report.json` or `k-report.html`: figures over a sweep of k, over the whole pack."""
        return self.artifacts_dir / check_pack_name(pack) / "k-report" / f"k-report{suffix}"

    def k_report_progress(self, pack: str) -> Path:
        """Return the path of `.progress.json`: how far a k report under way has come."""
        return self.artifacts_dir / check_pack_name(pack) / "k-report" / ".progress.json"

    def style_map(self, pack: str) -> StyleMapDir:
        """Return the places of a pack's style map, in `artifacts/aivj/<pack>/qa-samples`."""
        return StyleMapDir(self.artifacts_dir / check_pack_name(pack) / QA_NAME)

    def style_map_progress(self, pack: str) -> Path:
        """Return the path of `.style-map-progress.json`: how far a style map under way has come."""
        return self.artifacts_dir / check_pack_name(pack) / ".style-map-progress.json"

    def style_map_lock(self, pack: str) -> Path:
        """Return the path of the lock under which a pack's style map is made."""
        return self.artifacts_dir / check_pack_name(pack) / ".style-map.lock"

    def published(self, pack: str, name: str) -> Path:
        """Return the path of a published file, e.g. `aivj-style-index.v1.json`, beside the pack's manifest."""
        if not name.startswith(PUBLISHED_PREFIX):
            raise ValueError(f"published files start with '{PUBLISHED_PREFIX}', not '{name}'")
        return self.pack_dir(pack) / name

    def published_files(self, pack: str) -> tuple[Path, Path, Path, Path]:
        """Return what the app fetches of a pack: policy, clusters, index v0 and, as it rests on them, v1 last."""
        names = (STYLE_POLICY_NAME, PUBLISHED_CLUSTERS_NAME, style_index_name("v0"), style_index_name("v1"))
        policy, clusters, v0, v1 = (self.published(pack, name) for name in names)
        return policy, clusters, v0, v1

    def require_own_batch(self, batch: BatchKey) -> None:
        """Raise `UserError` when `batch` is the root manifest of a split pack, which is no batch."""
        if batch.batch is None and self.is_split(batch.pack):
            parts = [found.key for found in self.find_batches() if found.pack == batch.pack]
            raise UserError(
                f"Pack '{batch.pack}' is split: run its batches ({', '.join(parts[:3]) or 'none has a manifest yet'}"
                f"{', ...' if len(parts) > 3 else ''}) instead of the whole, or all of them with: "
                f"aivj run {batch.pack} --all-batches"
            )

    def find_batches(self) -> list[BatchKey]:
        """Return the batches whose manifest file exists, sorted by key.

        A pack with a `batches/` folder is split: its root manifest is then no batch. Folders whose names cannot be
        pack names are passed over.
        """
        found: list[BatchKey] = []
        if not self.presets_dir.is_dir():
            return found
        for folder in self.presets_dir.iterdir():
            if not folder.is_dir() or not _is_pack_name(folder.name):
                continue
            try:
                found += _batches_in(folder)
            except PermissionError:
                # Whoever reads its manifest then says that it may not be read.
                found.append(BatchKey(folder.name))
            except FileNotFoundError:
                # Moved away while it was looked at.
                continue
        return sorted(found, key=lambda batch: batch.key)

    def find_made_batches(self) -> list[BatchKey]:
        """Return the batches that have artifacts, whether or not their manifests are still there, sorted by key."""
        reports = [path for place in ("*", "*/batch-*") for path in self.artifacts_dir.glob(f"{place}/{_REPORT_NAME}")]
        parts = [path.parent.relative_to(self.artifacts_dir).parts for path in reports]
        found = [BatchKey(*names) for names in parts if _is_pack_name(names[0])]
        return sorted(
            (batch for batch in found if batch.batch is None or _BATCH_PATTERN.fullmatch(batch.batch)),
            key=lambda batch: batch.key,
        )

    def find_locks(self) -> list[Path]:
        """Return the lock files of all batches. Frame folders, a hundred thousand in a large batch, are not walked."""
        return sorted(path for place in ("*", "*/batch-*") for path in self.artifacts_dir.glob(f"{place}/{LOCK_NAME}"))

    def preset_file(self, rel_path: str) -> Path:
        """Return the file that a manifest's `relPath` names; raises `UserError` when it leaves `public/presets`.

        Absolute paths, drive letters, backslashes, `..` and links that point outside are refused.
        """
        parts = PurePosixPath(rel_path).parts
        if (
            not rel_path
            or "\\" in rel_path
            or ":" in rel_path
            or "\0" in rel_path
            or rel_path.startswith("/")
            or ".." in parts
        ):
            raise UserError(
                f"relPath '{rel_path}' leaves public/presets; use a path below it with '/' between its parts."
            )
        base = self.presets_dir.resolve()
        target = base.joinpath(*parts)
        try:
            resolved = target.resolve()
        except (OSError, RuntimeError):
            # Until Python 3.12 a link that leads to itself is a RuntimeError.
            raise UserError(f"relPath '{rel_path}' leads through a link that goes in a circle.") from None
        if not resolved.is_relative_to(base):
            raise UserError(
                f"relPath '{rel_path}' leads through a link out of public/presets; copy the file into the pack."
            )
        return target


@dataclass(frozen=True)
class BatchDir:
    """A batch's artifact folder and the files in it (CONTRACTS)."""

    path: Path

    @property
    def presets_report(self) -> Path:
        """What validation found, preset by preset."""
        return self.path / _REPORT_NAME

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
        return self.path / _HEAD_NAME

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


def safe_file_stem(text: str, limit: int = 80) -> str:
    """Return a file-name stem that Windows, macOS and Linux accept: ASCII word characters, at most `limit` long."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-. ")[:limit].rstrip("-. ") or "preset"
    return f"_{stem}" if _WINDOWS_RESERVED.fullmatch(stem) else stem


def replace_file(source: Path, target: Path) -> None:
    """Rename `source` over `target`, waiting up to a second for a Windows process that holds `target` open."""
    for attempt in range(_REPLACE_ATTEMPTS):
        try:
            source.replace(target)
        except PermissionError:
            if os.name != "nt" or attempt == _REPLACE_ATTEMPTS - 1:
                raise
            time.sleep(_REPLACE_WAIT_S)
        else:
            return


def replace_folder(source: Path, target: Path) -> None:
    """Rename a folder to `target`; one that lies there is moved aside first and then removed."""
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
    if target.exists():
        replace_file(target, aside)
    replace_file(source, target)
    shutil.rmtree(aside, ignore_errors=True)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file whole: a temporary name in the same folder, flushed, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        replace_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text whole, with LF line ends on every platform."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: Path, value: Any) -> None:
    """Write indented JSON whole. NaN and infinity raise `ValueError`: no browser reads them."""
    write_text_atomic(path, _json_text(value))


def write_json_files(files: Mapping[Path, Any]) -> None:
    """Write several JSON files that belong together: all are written and flushed before the first is renamed.

    A full disk or a kill while they are written leaves the old ones; between the first rename and the last lie
    microseconds, and files are renamed in the order given.
    """
    staged = [(path, path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")) for path in files]
    try:
        for path, temporary in staged:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(_json_text(files[path]).encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in staged:
            replace_file(temporary, path)
    finally:
        for _, temporary in staged:
            temporary.unlink(missing_ok=True)


def _json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
