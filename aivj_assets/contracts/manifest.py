"""`library-manifest.json`: the presets of a pack or of one of its batches (input)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from aivj_assets.contracts.base import ContractFile, ContractModel


class ManifestPreset(ContractModel):
    """One preset of a manifest."""

    id: str = Field(min_length=1, max_length=1000)
    label: str
    rel_path: str = Field(min_length=1)
    url: str
    pack: str
    file_name: str
    file_size: int = Field(ge=0)
    meta: dict[str, Any] | None = None
    danger_flags: Any | None = None
    band_class: Any | None = None
    wasm_compat: dict[str, Any] | None = None
    source_rel_path: str | None = None
    """Path relative to the manifest's `sourceRoot`; told by our importer."""

    def says_the_same(self, other: ManifestPreset) -> bool:
        """Whether two entries agree; their paths in the source count only where both tell them."""
        if self.source_rel_path is not None and other.source_rel_path is not None:
            return self == other
        untold = {"source_rel_path": None}
        return self.model_copy(update=untold) == other.model_copy(update=untold)


class SplitRecord(ContractModel):
    """Of which split of a pack a batch is a part, and how the pack was split.

    `batch` of `batches` counts from 1 and is what held when the batch was made: later batches of a pack that grew
    count on. `presets` is how many the batch was given.
    """

    root_manifest_sha256: str
    order: Literal["shuffled", "in-order"]
    seed: int | None = None
    batch_size: int = Field(ge=1)
    batch: int = Field(ge=1)
    batches: int = Field(ge=1)
    presets: int = Field(ge=1)


class Manifest(ContractFile):
    """A validated manifest: known version, unique ids."""

    version: Literal["v0", "v1", "v2", "v3"]
    generated_at: str
    source_root: str
    total_files_scanned: int = Field(ge=0)
    total_presets_included: int = Field(ge=0)
    aivj_split: SplitRecord | None = None
    presets: list[ManifestPreset]

    @model_validator(mode="after")
    def _ids_name_one_preset_each(self) -> Self:
        twice = [preset_id for preset_id, count in Counter(preset.id for preset in self.presets).items() if count > 1]
        if twice:
            raise ValueError(
                f"{len(twice)} preset ids occur more than once, e.g. '{twice[0]}'; give each preset an id of its own"
            )
        # `ids.txt` holds one id a line.
        broken = next(
            (preset.id for preset in self.presets if re.search(r"[\x00-\x1f\x7f\u2028\u2029]", preset.id)), None
        )
        if broken is not None:
            raise ValueError(f"preset id {broken!r} holds a control character or a line break")
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that goes into a file: what was read comes back, with fields that are null."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def says_the_same(self, other: Manifest) -> bool:
        """Whether two manifests agree, whenever they were generated and whether or not they tell paths in the source.

        A batch is made again when its manifest's bytes change: an old one is not to be written anew for that alone.
        """
        bare = {"generated_at": "", "presets": []}
        return (
            self.model_copy(update=bare) == other.model_copy(update=bare)
            and len(self.presets) == len(other.presets)
            and all(map(ManifestPreset.says_the_same, self.presets, other.presets))
        )

    def part(self, presets: Sequence[ManifestPreset], split: SplitRecord) -> Self:
        """Return the manifest of one batch: this one's fields with some of its presets, counted anew.

        `generatedAt` stays this manifest's, so that the same split always gives the same bytes.
        """
        counts = {"total_files_scanned": len(presets), "total_presets_included": len(presets)}
        return self.model_copy(update={**counts, "presets": list(presets), "aivj_split": split})


def preset_slug(text: str, limit: int = 60) -> str:
    """Return `text` as a slug of `[a-z0-9-]`, at most `limit` long."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].rstrip("-") or "preset"


def make_preset_id(pack: str, stem: str, source_rel_path: str) -> str:
    """Return `<pack>-<slug>-<first 6 hex of md5(relPath in the source)>`."""
    digest = hashlib.md5(source_rel_path.encode("utf-8"), usedforsecurity=False).hexdigest()
    return f"{pack}-{preset_slug(stem)}-{digest[:6]}"


def split_author_title(label: str) -> tuple[str | None, str]:
    """Split a MilkDrop file name "Author - Title"; the author is None where the name has no such form."""
    author, separator, title = label.partition(" - ")
    if not separator or not author.strip(" $!-_") or not title.strip():
        return None, label.strip()
    return author.strip(), title.strip()
