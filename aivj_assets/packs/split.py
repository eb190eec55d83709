"""Splitting a pack into batches: `batches/batch-0001/library-manifest.json` … from the pack's root manifest.

A batch is never rewritten. Presets that the root manifest has gained since go into batches after the existing ones, so
that what was rendered, embedded and published of these stays as it is.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from aivj_assets.contracts.manifest import Manifest, ManifestPreset, SplitRecord
from aivj_assets.errors import UserError
from aivj_assets.layout import MANIFEST_NAME, BatchKey, DataRoot, check_pack_name, replace_file, sha256_file
from aivj_assets.packs.pack_lock import pack_lock, writing

DEFAULT_BATCH_SIZE = 10_000
DEFAULT_SEED = 1
MAX_BATCHES = 9999
"""With more, the names `batch-0001` … would no longer sort by number."""

_STAGED_SUFFIX = ".new"


@dataclass(frozen=True)
class SplitOptions:
    """How a pack is cut: at most `batch_size` presets a batch, shuffled by `seed`, or in order where it is None."""

    batch_size: int
    seed: int | None

    @property
    def order(self) -> str:
        """The order as a person reads it."""
        return "in order" if self.seed is None else f"shuffled with seed {self.seed}"

    @property
    def arguments(self) -> str:
        """The options of `aivj pack split` that ask for this."""
        order = "--in-order" if self.seed is None else f"--seed {self.seed}"
        return f"--batch-size {self.batch_size} {order}"


@dataclass(frozen=True)
class SplitResult:
    """What a split has made, and what of the pack's batches does not match its root manifest.

    `sizes` is {batch: presets} of all batches; `made` are those that this call made, in place of others when
    `replaced`. `vanished` and `changed` are presets that the root manifest no longer names, or describes otherwise;
    `taken_out` is {batch: how many presets fewer than it was given}.
    """

    options: SplitOptions
    sizes: dict[BatchKey, int]
    made: list[BatchKey]
    replaced: bool = False
    vanished: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    taken_out: dict[BatchKey, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Pack:
    """A pack with its root manifest and the manifest's SHA-256."""

    root: DataRoot
    name: str
    manifest: Manifest
    sha256: str

    @property
    def batches_dir(self) -> Path:
        return self.root.batches_dir(self.name)

    @property
    def artifact_numbers(self) -> list[int]:
        """Numbers of the batches of which there are artifacts."""
        return _batch_numbers(self.root.batch(BatchKey(self.name)).path)


@dataclass
class _Standing:
    """What the batches of a pack hold now."""

    sizes: dict[BatchKey, int] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    options: set[SplitOptions] = field(default_factory=set)
    unmarked: list[BatchKey] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    taken_out: dict[BatchKey, int] = field(default_factory=dict)


def split_pack(
    root: DataRoot,
    pack: str,
    *,
    batch_size: int | None = None,
    seed: int | None = None,
    in_order: bool = False,
    force: bool = False,
) -> SplitResult:
    """Split a pack, or give what it has gained since it was split batches of their own.

    What is not given is as in the pack's last split, else 10,000 presets a batch, shuffled with seed 1. The same call
    again changes nothing. With other options the batches are replaced as a whole while nothing was made of them, and
    at no moment do batches of two splits lie side by side. Raises `UserError` for a pack without a readable manifest,
    options that cannot be, other options once a batch has artifacts, batches that were not made here, and a pack that
    has run as one batch (unless `force`).
    """
    _check_options(batch_size, seed, in_order=in_order)
    path = root.manifest(BatchKey(check_pack_name(pack)))
    if not path.is_file():
        raise UserError(_no_manifest(root, pack, path))
    with pack_lock(root, pack), writing(root.pack_dir(pack)):
        _mend(root, pack)
        manifest = Manifest.load(path)
        if not manifest.presets:
            raise UserError(f"{path} names no preset: there is nothing to split.")
        whole = _Pack(root, pack, manifest, sha256_file(path))
        standing = _read_batches(whole)
        recorded = _recorded(whole, standing)
        options = _chosen(recorded, batch_size, seed, in_order=in_order)
        if recorded is None:
            if not force:
                _require_unrun(whole)
            return _split_anew(whole, options, _first_number(whole))
        if options == recorded:
            return _grow(whole, options, standing)
        _require_replaceable(whole, recorded, standing)
        return _split_anew(whole, options, 1)


def cut(presets: Sequence[ManifestPreset], options: SplitOptions) -> list[list[ManifestPreset]]:
    """Cut presets into as few batches as the size allows, as even as can be (25 by 10: 9, 8, 8).

    A shuffled batch is a random sample without replacement: each preset's rank comes from seed and id alone, so it
    depends neither on the manifest's order nor on a library's generator. Within a batch the manifest's order stays.
    """
    places = list(range(len(presets)))
    if options.seed is not None:
        places.sort(key=lambda place: hashlib.sha256(f"{options.seed}:{presets[place].id}".encode()).digest())
    count = ceil(len(places) / options.batch_size)
    small, larger = divmod(len(places), count)
    parts: list[list[ManifestPreset]] = []
    start = 0
    for number in range(count):
        end = start + small + (number < larger)
        parts.append([presets[place] for place in sorted(places[start:end])])
        start = end
    return parts


def _check_options(batch_size: int | None, seed: int | None, *, in_order: bool) -> None:
    if batch_size is not None and batch_size < 1:
        raise UserError(f"--batch-size {batch_size} leaves no preset in a batch; use 1 or more.")
    if seed is not None and in_order:
        raise UserError("--seed shuffles and --in-order does not; give one of the two.")
    if seed is not None and seed < 0:
        raise UserError(f"--seed {seed}: use 0 or more.")


def _chosen(recorded: SplitOptions | None, batch_size: int | None, seed: int | None, *, in_order: bool) -> SplitOptions:
    last = recorded or SplitOptions(DEFAULT_BATCH_SIZE, DEFAULT_SEED)
    return SplitOptions(batch_size or last.batch_size, None if in_order else last.seed if seed is None else seed)


def _no_manifest(root: DataRoot, pack: str, path: Path) -> str:
    if root.is_split(pack):
        return f"{path} does not exist: the pack '{pack}' consists of batches already, there is nothing to split."
    known = ", ".join(sorted({batch.pack for batch in root.find_batches()})) or "none yet"
    return (
        f"{path} does not exist: there is no pack '{pack}' to split (known: {known}). "
        "Make a pack first: aivj pack import SOURCE --pack NAME."
    )


def _require_unrun(pack: _Pack) -> None:
    folder = pack.root.batch(BatchKey(pack.name))
    if not any(path.exists() for path in (folder.presets_report, folder.frames_index, folder.shard_logs_dir)):
        return
    raise UserError(
        f"The pack '{pack.name}' has run as one batch: {folder.path} stays, but counts for no batch, so all "
        f"{len(pack.manifest.presets)} presets are rendered again, and what is published next holds accepted batches "
        "only. Repeat with --force for that, or import the presets under another name and split that pack."
    )


def _batch_numbers(folder: Path) -> list[int]:
    """Return the numbers of the folders `batch-0001` … that hold anything."""
    if not folder.is_dir():
        return []
    found = [(re.fullmatch(r"batch-([0-9]{4,})", child.name), child) for child in folder.iterdir()]
    return [int(match[1]) for match, child in found if match and child.is_dir() and any(child.iterdir())]


def _first_number(pack: _Pack) -> int:
    """Return the number after those of all batches of which there is a manifest or an artifact: none comes back."""
    return max([*_batch_numbers(pack.batches_dir), *pack.artifact_numbers], default=0) + 1


def _read_batches(pack: _Pack) -> _Standing:
    """Read a pack's batches one after the other: all at once would take as much memory again as the whole."""
    presets = {preset.id: preset for preset in pack.manifest.presets}
    standing = _Standing()
    for batch in (found for found in pack.root.find_batches() if found.pack == pack.name and found.batch):
        manifest = Manifest.load(pack.root.manifest(batch))
        standing.sizes[batch] = len(manifest.presets)
        record = manifest.aivj_split
        if record is None:
            standing.unmarked.append(batch)
        else:
            standing.options.add(SplitOptions(record.batch_size, record.seed))
            if record.presets > len(manifest.presets):
                standing.taken_out[batch] = record.presets - len(manifest.presets)
        for preset in manifest.presets:
            standing.ids.add(preset.id)
            now = presets.get(preset.id)
            if now is None:
                standing.vanished.append(preset.id)
            elif not now.says_the_same(preset):
                standing.changed.append(preset.id)
    return standing


def _recorded(pack: _Pack, standing: _Standing) -> SplitOptions | None:
    """Return the options of the split that stands, or None when the pack is not split."""
    if len(standing.options) == 1:
        return next(iter(standing.options))
    if standing.options:
        told = "; ".join(sorted(options.arguments for options in standing.options))
        raise UserError(
            f"{pack.batches_dir} holds batches of several splits ({told}): move those of all but one away, then repeat."
        )
    # Manifests first: they tell more than a note beside them.
    foreign = [*(pack.root.manifest(batch) for batch in standing.unmarked), *_foreign_files(pack, standing)]
    if foreign:
        what = f"{foreign[0].relative_to(pack.batches_dir)}{' has no aivjSplit' if standing.unmarked else ''}"
        raise UserError(
            f"{pack.batches_dir} was not made by aivj pack split ({what}): add further batches by hand, or move the "
            "folder away."
        )
    return None


def _foreign_files(pack: _Pack, standing: _Standing) -> list[Path]:
    """Return what lies in `batches/` beside the manifests that were made here."""
    own = {pack.root.manifest(batch) for batch in standing.sizes.keys() - standing.unmarked}
    found = (path for path in pack.batches_dir.rglob("*") if path.is_file() and path.name != ".DS_Store")
    return sorted(path for path in found if path not in own)


def _require_replaceable(pack: _Pack, recorded: SplitOptions, standing: _Standing) -> None:
    """Refuse to put another split in place of one of which something was made, or that holds a person's files."""
    made = pack.artifact_numbers
    if made:
        raise UserError(
            f"The pack '{pack.name}' is split otherwise and {len(made)} of its batches have artifacts, e.g. "
            f"batch-{min(made):04d}: with {recorded.arguments} new presets get batches of their own; to cut all anew, "
            "import the presets under another name and split that pack."
        )
    foreign = _foreign_files(pack, standing)
    if foreign:
        raise UserError(f"{foreign[0]} was not made by aivj pack split; move it away to split the pack otherwise.")


def _grow(pack: _Pack, options: SplitOptions, standing: _Standing) -> SplitResult:
    """Give presets that are in no batch batches of their own, after the existing ones.

    Each folder is put in place by itself. A call that was killed midway leaves the first of them, and the next call
    makes the rest exactly as the killed one would have.
    """
    new = [preset for preset in pack.manifest.presets if preset.id not in standing.ids]
    made: dict[BatchKey, int] = {}
    if new:
        parts = _numbered(pack, new, options, after=len(standing.sizes))
        for number, part in enumerate(parts, start=_first_number(pack)):
            batch = BatchKey(pack.name, f"batch-{number:04d}")
            folder = pack.root.manifest(batch).parent
            staged = folder.with_name(f".{folder.name}{_STAGED_SUFFIX}")
            part.save(staged / MANIFEST_NAME)
            if folder.is_dir():
                folder.rmdir()  # an empty one: Windows puts no folder in place of another
            replace_file(staged, folder)
            made[batch] = len(part.presets)
    return SplitResult(
        options,
        standing.sizes | made,
        list(made),
        vanished=standing.vanished,
        changed=standing.changed,
        taken_out=standing.taken_out if new else {},
    )


def _split_anew(pack: _Pack, options: SplitOptions, first_number: int) -> SplitResult:
    """Write all batches into a hidden folder and put that in place of `batches/`, if there is one.

    Between the two renames that this takes, the pack is split and has no batch; `_mend` then puts the old split back.
    """
    root, target = pack.root, pack.batches_dir
    staged, old = root.new_batches_dir(pack.name), root.replaced_batches_dir(pack.name)
    sizes: dict[BatchKey, int] = {}
    for number, part in enumerate(_numbered(pack, pack.manifest.presets, options, after=0), start=first_number):
        batch = BatchKey(pack.name, f"batch-{number:04d}")
        part.save(staged / root.manifest(batch).relative_to(target))
        sizes[batch] = len(part.presets)
    replaced = target.is_dir()
    if replaced:
        replace_file(target, old)
    replace_file(staged, target)
    shutil.rmtree(old, ignore_errors=True)
    return SplitResult(options, sizes, list(sizes), replaced=replaced)


def _numbered(pack: _Pack, presets: Sequence[ManifestPreset], options: SplitOptions, *, after: int) -> list[Manifest]:
    """Return the manifests of the batches that `presets` make, counted on from `after` batches."""
    parts = cut(presets, options)
    if after + len(parts) > MAX_BATCHES:
        raise UserError(
            f"--batch-size {options.batch_size} makes {after + len(parts)} batches; with at most {MAX_BATCHES} it is "
            f"{ceil(len(presets) / max(1, MAX_BATCHES - after))} or more."
        )
    order = {"order": "in-order"} if options.seed is None else {"order": "shuffled", "seed": options.seed}
    return [
        pack.manifest.part(
            part,
            SplitRecord.model_validate(
                {
                    "rootManifestSha256": pack.sha256,
                    **order,
                    "batchSize": options.batch_size,
                    "batch": number,
                    "batches": after + len(parts),
                    "presets": len(part),
                }
            ),
        )
        for number, part in enumerate(parts, start=after + 1)
    ]


def _mend(root: DataRoot, pack: str) -> None:
    """Clear up after a call that was killed: the old split comes back where the new one was not in place yet."""
    target, old = root.batches_dir(pack), root.replaced_batches_dir(pack)
    if old.is_dir() and not target.is_dir():
        replace_file(old, target)
    # What cannot be removed must not get among the next split's batches: an error ends the call.
    for leftover in (old, root.new_batches_dir(pack), *target.glob(f".batch-*{_STAGED_SUFFIX}")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
