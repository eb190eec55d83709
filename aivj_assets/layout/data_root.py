"""The data root and the places below it.

The functions here take the environment as an argument; importing the module reads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from aivj_assets.errors import UserError
from aivj_assets.layout.folders import BatchDir, LineageDir, StyleMapDir
from aivj_assets.layout.names import (
    AUDIO_STYLE_NAME,
    BATCH_PATTERN,
    BATCHES_NAME,
    BLACKLIST_NAME,
    HEAD_NAME,
    LOCK_NAME,
    MANIFEST_NAME,
    PUBLISHED_CLUSTERS_NAME,
    PUBLISHED_PREFIX,
    QA_NAME,
    REPLACED_BATCHES_NAME,
    REPORT_NAME,
    STYLE_POLICY_NAME,
    BatchKey,
    check_pack_name,
    is_pack_name,
    style_index_name,
)

DATA_ROOT_VARIABLE = "AIVJ_ROOT"


def project_root() -> Path:
    """Return the checkout's folder: the one that holds the package `aivj_assets`."""
    return Path(__file__).resolve().parents[2]


def resolve_data_root(environ: Mapping[str, str]) -> DataRoot:
    """Return the data root that `AIVJ_ROOT` names, by default the project's root."""
    named = environ.get(DATA_ROOT_VARIABLE, "").strip()
    return DataRoot(Path(named).expanduser().resolve() if named else project_root())


def web_engine_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder in which the npm packages of the render page are installed (shared by all data roots)."""
    named = environ.get("AIVJ_WEB_ENGINE_DIR", "").strip()
    return Path(named).expanduser().resolve() if named else project_root() / ".aivj" / "web-engine"


def _batches_in(folder: Path) -> list[BatchKey]:
    parts = folder / BATCHES_NAME
    if parts.is_dir():
        return [
            BatchKey(folder.name, part.name)
            for part in parts.iterdir()
            if BATCH_PATTERN.fullmatch(part.name) and (part / MANIFEST_NAME).is_file()
        ]
    # While one split takes the place of another there is no `batches/`: that makes the whole no batch.
    whole = (folder / MANIFEST_NAME).is_file() and not (folder / REPLACED_BATCHES_NAME).is_dir() and not parts.is_dir()
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
        if not is_pack_name(name):
            raise UserError(
                f"'{name}' cannot name a lineage: use letters, digits, '.', '_' and '-', starting with a letter or "
                "digit."
            )
        return LineageDir(name, self.lineages_dir / name)

    def find_lineages(self) -> list[str]:
        """Return the names of the lineages that have a version, sorted."""
        if not self.lineages_dir.is_dir():
            return []
        return sorted(place.name for place in self.lineages_dir.iterdir() if (place / HEAD_NAME).is_file())

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
    def audio_embedding_cache_dir(self) -> Path:
        """`.aivj/audio-embeddings`: vectors of windows of tracks by their content; may be deleted at any time."""
        return self.path / ".aivj" / "audio-embeddings"

    @property
    def own_dir(self) -> Path:
        """`.aivj`: what the platform keeps for itself."""
        return self.path / ".aivj"

    @property
    def fleet_dir(self) -> Path:
        """`.aivj/fleet`: announced workers, leases of steps, the renderers of packs."""
        return self.own_dir / "fleet"

    @property
    def leases_dir(self) -> Path:
        """`.aivj/fleet/leases`: which worker runs which step, a folder a run."""
        return self.fleet_dir / "leases"

    @property
    def checked_weights(self) -> Path:
        """`.aivj/checked-weights.json`: weights that were loaded on this machine; may be deleted at any time."""
        return self.own_dir / "checked-weights.json"

    def sound(self, sha256: str) -> Path:
        """Return the path of a sound that presets hear, by the digest of its samples; it may come from a file."""
        return self.own_dir / "sounds" / f"{sha256}.wav"

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
        return self.pack_dir(pack) / REPLACED_BATCHES_NAME

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
        return self.artifacts_dir / check_pack_name(pack) / BLACKLIST_NAME

    def find_quality_blacklists(self) -> dict[str, Path]:
        """Return {pack: its `quality-blacklist.json`} of the packs that have one, sorted."""
        found = sorted(self.artifacts_dir.glob(f"*/{BLACKLIST_NAME}"))
        return {path.parent.name: path for path in found if is_pack_name(path.parent.name)}

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

    def shows_dir(self, pack: str) -> Path:
        """Return `artifacts/aivj/<pack>/shows`: a log a show, what the audio -> style model learns from."""
        return self.artifacts_dir / check_pack_name(pack) / "shows"

    def rehearsal_dir(self, pack: str) -> Path:
        """Return `artifacts/aivj/<pack>/rehearsal`: the page of the last rehearsal, its log and figures."""
        return self.artifacts_dir / check_pack_name(pack) / "rehearsal"

    def rehearsal_progress(self, pack: str) -> Path:
        """Return the path of `.rehearsal-progress.json`: how far a rehearsal under way has come."""
        return self.artifacts_dir / check_pack_name(pack) / ".rehearsal-progress.json"

    def rehearsal_lock(self, pack: str) -> Path:
        """Return the path of the lock under which a pack is rehearsed."""
        return self.artifacts_dir / check_pack_name(pack) / ".rehearsal.lock"

    def audio_style_dir(self, pack: str) -> Path:
        """Return `artifacts/aivj/<pack>/audio-style`: the audio -> style model, its evaluation, reactivity figures."""
        return self.artifacts_dir / check_pack_name(pack) / "audio-style"

    def audio_style_model(self, pack: str) -> Path:
        """Return the path of `audio-style/aivj-audio-style.v0.json`: the model that was last trained."""
        return self.audio_style_dir(pack) / AUDIO_STYLE_NAME

    def audio_style_progress(self, pack: str) -> Path:
        """Return the path of `.model-progress.json`: how far a training has come."""
        return self.audio_style_dir(pack) / ".model-progress.json"

    def audio_style_lock(self, pack: str) -> Path:
        """Return the path of the lock under which a pack's model is trained."""
        return self.audio_style_dir(pack) / ".model.lock"

    def reactivity(self, pack: str) -> Path:
        """Return the path of `audio-style/reactivity.json`: which presets of a sample move with the sound."""
        return self.audio_style_dir(pack) / "reactivity.json"

    def reactivity_work_dir(self, pack: str) -> Path:
        """Return the folder of a sample's pictures; it goes when they are scored."""
        return self.audio_style_dir(pack) / ".reactivity"

    def reactivity_progress(self, pack: str) -> Path:
        """Return the path of `.reactivity-progress.json`: how far a sample's rendering has come."""
        return self.audio_style_dir(pack) / ".reactivity-progress.json"

    def reactivity_lock(self, pack: str) -> Path:
        """Return the path of the lock under which a pack's reactivity is measured."""
        return self.audio_style_dir(pack) / ".reactivity.lock"

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
            if not folder.is_dir() or not is_pack_name(folder.name):
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
        reports = [path for place in ("*", "*/batch-*") for path in self.artifacts_dir.glob(f"{place}/{REPORT_NAME}")]
        parts = [path.parent.relative_to(self.artifacts_dir).parts for path in reports]
        found = [BatchKey(*names) for names in parts if is_pack_name(names[0])]
        return sorted(
            (batch for batch in found if batch.batch is None or BATCH_PATTERN.fullmatch(batch.batch)),
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
