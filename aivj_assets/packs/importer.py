"""Making a pack: copy the usable presets of a source to `public/presets/<pack>/files`, write the manifest last."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.import_report import ImportCounts, ImportReport, LeftOut, SourceKind
from aivj_assets.contracts.manifest import Manifest, ManifestPreset, make_preset_id
from aivj_assets.contracts.preset_file import PresetRefusal
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, safe_file_stem
from aivj_assets.packs.blacklist import BLACKLISTED, Blacklists
from aivj_assets.packs.hygiene import Progress, map_files, read_candidate
from aivj_assets.packs.pack_lock import pack_lock, writing
from aivj_assets.packs.source import Source, SourceFile, list_source, open_source

MANIFEST_VERSION = "v3"
DEFAULT_SEED = 1
_STEM_LENGTH = 60
_DIGITS = 6


@dataclass(frozen=True)
class ImportSettings:
    """What decides, beside the source, which presets a pack holds; kept in its manifest. No seed without a limit."""

    kind: SourceKind
    limit: int | None
    seed: int | None
    dedupe: bool
    keep_blacklisted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a manifest holds them: those that are older than blacklists tell nothing of them."""
        return {name: value for name, value in asdict(self).items() if name != "keep_blacklisted" or value}


@dataclass(frozen=True)
class Candidate:
    """A usable preset of the source and its content hash."""

    file: SourceFile
    sha256: str


def import_pack(
    root: DataRoot,
    source: Path | str,
    pack: str,
    *,
    kind: SourceKind = "auto",
    limit: int | None = None,
    seed: int | None = None,
    dedupe: bool = False,
    replace: bool = False,
    keep_blacklisted: bool | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import a source as a pack and return what was taken and left out.

    `limit` takes a seeded random sample of the usable presets; a smaller sample of the same source and seed is part
    of a larger one. `dedupe` keeps the first of several presets with the same content. With `keep_blacklisted` False
    presets are left out that a pack's quality-blacklist.json names; with None no blacklist is asked, and the manifest
    tells nothing of it. Doing the same import again leaves an unchanged pack untouched. Raises `UserError` for a source
    or pack name that cannot be used, a source without presets, a pack that came from elsewhere (unless `replace`), a
    malformed blacklist, and a disk that is full or not writable.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit} leaves no preset; use 1 or more.")
    folder = root.pack_dir(pack)
    opened = open_source(source, kind)
    if opened.folder.is_relative_to(folder.resolve()):
        raise UserError(f"{source} lies in the pack '{pack}' itself; name the folder the presets came from.")
    settings = ImportSettings(
        opened.kind,
        limit,
        None if limit is None else DEFAULT_SEED if seed is None else seed,
        dedupe,
        bool(keep_blacklisted),
    )
    blacklists = Blacklists.read(root, opened) if keep_blacklisted is False else Blacklists()
    with writing(folder), _locked(root, pack):
        previous = _previous_import(root, pack, opened, settings, replace=replace)
        listing = list_source(opened, skip=folder)
        candidates, left_out = _select_usable(listing.files, progress)
        candidates, blacklisted = _drop_blacklisted(candidates, blacklists)
        left_out += blacklisted
        _require_presets(source, pack, listing.files, candidates, left_out)
        if dedupe:
            candidates, copies = _drop_copies(candidates)
            left_out += copies
        chosen = _sample(candidates, settings)
        presets = _copy_presets(root, pack, chosen)
        left_out += listing.left_out_files
        report = ImportReport(
            generated_at=utc_now(),
            pack=pack,
            source=opened.name,
            counts=ImportCounts(
                scanned=len(listing.files) + len(listing.left_out_files),
                left_out=len(left_out),
                not_sampled=len(candidates) - len(chosen),
                included=len(chosen),
            ),
            left_out=sorted([*left_out, *listing.left_out_folders], key=lambda item: item.rel_path),
            duplicates=_duplicates(presets, chosen),
        )
        manifest = _make_manifest(report, settings, presets)
        report.save_if_changed(root.import_report(pack))
        stands = previous is not None and manifest.says_the_same(previous)
        report.changed = not stands and manifest.save_if_changed(root.manifest(BatchKey(pack)))
        _remove_stale(root, pack, previous, manifest)
    return report


def _make_manifest(report: ImportReport, settings: ImportSettings, presets: list[ManifestPreset]) -> Manifest:
    return Manifest.model_validate(
        {
            "version": MANIFEST_VERSION,
            "generatedAt": report.generated_at,
            "sourceRoot": report.source,
            "totalFilesScanned": report.counts.scanned,
            "totalPresetsIncluded": len(presets),
            "presets": presets,
            "import": settings.to_json(),
        }
    )


@contextmanager
def _locked(root: DataRoot, pack: str) -> Iterator[None]:
    folder = root.pack_dir(pack)
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with pack_lock(root, pack):
            yield
    finally:
        if not existed and not root.manifest(BatchKey(pack)).exists():
            _remove_empty(folder, root.import_lock(pack))


def _remove_empty(folder: Path, lock_path: Path) -> None:
    # A refused import leaves no empty pack behind.
    try:
        if not any(child != lock_path for child in folder.iterdir()):
            lock_path.unlink(missing_ok=True)
            folder.rmdir()
    except OSError:
        return


def _previous_import(
    root: DataRoot, pack: str, source: Source, settings: ImportSettings, *, replace: bool
) -> Manifest | None:
    """Return the manifest that stands; raises `UserError` when this import would overwrite somebody else's pack."""
    path = root.manifest(BatchKey(pack))
    if root.is_split(pack) and (replace or not path.exists()):
        # The same import again only adds: `aivj pack split` then makes new batches.
        raise UserError(f"The pack '{pack}' is split into batches; import under another name.")
    if not path.exists():
        return None
    try:
        previous = Manifest.load(path)
    except UserError as error:
        if replace:
            return None
        raise UserError(f"{error} Repeat with --replace to import the pack '{pack}' anew.") from None
    if replace:
        return previous
    if not source.is_root(previous.source_root):
        raise UserError(
            f"The pack '{pack}' was made from {previous.source_root}; name another pack, or repeat with --replace."
        )
    before = (previous.model_extra or {}).get("import")
    if before != settings.to_json():
        raise UserError(
            f"The pack '{pack}' was imported with other options ({_describe(before)}); name another pack, or repeat "
            "with --replace."
        )
    return previous


def _describe(settings: object) -> str:
    if not isinstance(settings, dict):
        return "by another tool"
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value not in (None, False))


def _select_usable(files: Sequence[SourceFile], progress: Progress | None) -> tuple[list[Candidate], list[LeftOut]]:
    candidates: list[Candidate] = []
    left_out: list[LeftOut] = []
    outcomes = map_files(read_candidate, [file.path for file in files], progress)
    for file, outcome in zip(files, outcomes, strict=True):
        if isinstance(outcome, PresetRefusal):
            left_out.append(LeftOut(rel_path=file.rel_path, reason=outcome.reason, detail=outcome.detail))
        else:
            candidates.append(Candidate(file, outcome))
    return candidates, left_out


def _require_presets(
    source: Path | str,
    pack: str,
    files: Sequence[SourceFile],
    candidates: Sequence[Candidate],
    left_out: Sequence[LeftOut],
) -> None:
    if candidates:
        return
    if not files:
        raise UserError(f"{source} holds no preset files; the pack '{pack}' was not made.")
    reasons = ", ".join(
        f"{reason} {count}" for reason, count in Counter(item.reason for item in left_out).most_common()
    )
    blacklisted = any(item.reason == BLACKLISTED for item in left_out)
    raise UserError(
        f"None of the {len(files)} files in {source} is a usable preset ({reasons}; e.g. {left_out[0].rel_path}: "
        f"{left_out[0].detail}); the pack '{pack}' was not made."
        + (" With --keep-blacklisted blacklisted presets are taken all the same." if blacklisted else "")
    )


def _drop_blacklisted(candidates: Sequence[Candidate], blacklists: Blacklists) -> tuple[list[Candidate], list[LeftOut]]:
    kept: list[Candidate] = []
    left_out: list[LeftOut] = []
    for candidate in candidates:
        detail = blacklists.why(candidate.sha256, candidate.file.rel_path)
        if detail is None:
            kept.append(candidate)
        else:
            left_out.append(LeftOut(rel_path=candidate.file.rel_path, reason=BLACKLISTED, detail=detail))
    return kept, left_out


def _drop_copies(candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[LeftOut]]:
    first: dict[str, Candidate] = {}
    copies: list[LeftOut] = []
    for candidate in candidates:
        kept = first.setdefault(candidate.sha256, candidate)
        if kept is not candidate:
            detail = f"same content as {kept.file.rel_path}"
            copies.append(LeftOut(rel_path=candidate.file.rel_path, reason="duplicate", detail=detail))
    return list(first.values()), copies


def _sample(candidates: Sequence[Candidate], settings: ImportSettings) -> list[Candidate]:
    """Draw as many candidates as the limit says, in their order.

    Each gets a pseudo-random rank from seed and path alone: a file more in the source moves no other, and samples of
    different sizes are nested.
    """
    limit, seed = settings.limit, settings.seed
    if limit is None or limit >= len(candidates):
        return list(candidates)

    def rank(number: int) -> bytes:
        return hashlib.sha256(f"{seed}:{candidates[number].file.rel_path}".encode()).digest()

    return [candidates[number] for number in sorted(sorted(range(len(candidates)), key=rank)[:limit])]


def _copy_presets(root: DataRoot, pack: str, chosen: Sequence[Candidate]) -> list[ManifestPreset]:
    folder = root.imported_files_dir(pack)
    folder.mkdir(parents=True, exist_ok=True)
    ids: set[str] = set()
    names: set[str] = set()
    presets = []
    for candidate in chosen:
        preset_id, name = _unused_names(pack, candidate.file, ids, names)
        ids.add(preset_id)
        names.add(name.casefold())  # Windows and macOS do not tell A.milk from a.milk
        size_bytes = _copy_file(candidate.file.path, folder / name)
        rel_path = f"{pack}/{folder.name}/{name}"
        presets.append(
            ManifestPreset(
                id=preset_id,
                label=candidate.file.stem,
                rel_path=rel_path,
                url=f"/presets/{rel_path}",
                pack=pack,
                file_name=name,
                file_size=size_bytes,
                source_rel_path=candidate.file.rel_path,
            )
        )
    return presets


def _unused_names(pack: str, file: SourceFile, ids: set[str], names: set[str]) -> tuple[str, str]:
    """Return an id and a file name not taken yet: six digits of the path's MD5, more where those are taken."""
    digest = hashlib.md5(file.rel_path.encode("utf-8"), usedforsecurity=False).hexdigest()
    base_id = make_preset_id(pack, file.stem, file.rel_path)
    stem = safe_file_stem(file.stem, _STEM_LENGTH)
    suffix = file.path.suffix.lower()
    # Two names that differ only in bytes that are no text share the whole digest: a number follows it.
    tails = (digest[:length] for length in range(_DIGITS, len(digest) + 1, 2))
    # Made as they are needed: a list of them for each preset took a quarter of an hour for 130,000.
    numbered = (f"{digest}-{number}" for number in range(2, len(ids) + 3))
    for tail in chain(tails, numbered):
        preset_id, name = base_id + tail[_DIGITS:], f"{stem}-{tail}{suffix}"
        if preset_id not in ids and name.casefold() not in names:
            return preset_id, name
    raise AssertionError("more tails than names were tried")


def _copy_file(source: Path, target: Path) -> int:
    try:
        data = source.read_bytes()
    except OSError as error:
        raise UserError(f"{source} cannot be read any more: {error.strerror or error}; repeat the import.") from None
    # The same import again must not touch files that a viewer on Windows may hold open.
    if not (target.is_file() and target.read_bytes() == data):
        target.write_bytes(data)
    return len(data)


def _duplicates(presets: Sequence[ManifestPreset], chosen: Sequence[Candidate]) -> dict[str, list[str]]:
    ids_of: dict[str, list[str]] = {}
    for preset, candidate in zip(presets, chosen, strict=True):
        ids_of.setdefault(candidate.sha256, []).append(preset.id)
    return {sha256: ids for sha256, ids in ids_of.items() if len(ids) > 1}


def _remove_stale(root: DataRoot, pack: str, previous: Manifest | None, manifest: Manifest) -> None:
    """Remove files of the previous import that the new manifest does not name; nothing else in the folder is ours."""
    if previous is None or root.is_split(pack):
        # Batches of a split pack go on naming files that have left the root manifest.
        return
    folder = root.imported_files_dir(pack)
    kept = {preset.file_name.casefold() for preset in manifest.presets}
    for preset in previous.presets:
        path = folder / preset.file_name
        ours = preset.rel_path == f"{pack}/{folder.name}/{preset.file_name}" and path.parent == folder
        if ours and preset.file_name.casefold() not in kept:
            path.unlink(missing_ok=True)
