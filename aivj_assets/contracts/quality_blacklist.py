"""`quality-blacklist.json`: presets of a pack that failed for good, in the form that the app reads."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot


class BlacklistedPreset(ContractModel):
    """An entry of this platform, which goes when the preset works again. `at` is when it failed, ISO-8601."""

    preset_id: str
    batch: str
    source_root: str
    source_rel_path: str | None = None
    """Relative to `source_root`; None where the manifest does not tell it."""
    rel_path: str
    """Relative to `public/presets`."""
    url: str
    sha256: str | None = None
    """Of the preset's normalised content; None where another tool rendered it and did not tell."""
    reasons: list[str]
    at: str

    @property
    def listed_path(self) -> str:
        """The path by which `badSourceRelPaths` names it: that in the source, or `relPath` where it is not known."""
        return self.source_rel_path or self.rel_path


class UnwantedPreset(BlacklistedPreset):
    """A preset that works and that a person does not want; the entry goes when a person decides otherwise."""

    reviewer: str | None = None


class QualityBlacklist(ContractFile):
    """Bad presets by path in the source, id, URL and content SHA-256.

    What the lists hold beyond `aivj_entries` and `person_entries` was added by a person or another tool, and is kept.
    """

    version: str = "v0"
    generated_at: str = ""
    source_root: str = ""
    bad_source_rel_paths: list[str] = Field(default_factory=list)
    bad_reasons_by_rel_path: dict[str, list[str] | str] = Field(default_factory=dict)
    bad_ids: list[str] = Field(default_factory=list)
    bad_urls: list[str] = Field(default_factory=list)
    bad_content_sha256: list[str] = Field(default_factory=list)
    aivj_entries: list[BlacklistedPreset] = Field(default_factory=list)
    person_entries: list[UnwantedPreset] = Field(default_factory=list)
    """What imported verdicts say."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; without a person's entries nothing is said of them."""
        content = super().to_json()
        if not self.person_entries:
            del content["personEntries"]
        return content

    @classmethod
    def of_pack(cls, root: DataRoot, pack: str) -> Self:
        """Read a pack's blacklist; empty where there is none. Raises `UserError` when the file is malformed."""
        path = root.quality_blacklist(pack)
        try:
            return cls.load(path) if path.exists() else cls()
        except UserError as error:
            raise UserError(f"{error} Mend it, or move it away.") from None
