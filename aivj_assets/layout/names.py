"""Names of files and folders, and what may be one everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aivj_assets.errors import UserError

MANIFEST_NAME = "library-manifest.json"
BATCHES_NAME = "batches"
REPLACED_BATCHES_NAME = ".batches.old"
PUBLISHED_PREFIX = "aivj-"
STYLE_POLICY_NAME = "aivj-style-policy.v0.json"
PUBLISHED_CLUSTERS_NAME = "aivj-clusters.v0.json"
AUDIO_STYLE_NAME = "aivj-audio-style.v0.json"
LOCK_NAME = ".batch-lock.json"
QA_NAME = "qa-samples"
HEAD_NAME = "head.json"
REPORT_NAME = "presets-report.json"
BLACKLIST_NAME = "quality-blacklist.json"
BATCH_PATTERN = re.compile(r"batch-[0-9]{4,}")

_PACK_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WINDOWS_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


@dataclass(frozen=True, order=True)
class BatchKey:
    """A batch of presets: a whole pack (`starter`) or one part of a split pack (`big/batch-0001`)."""

    pack: str
    batch: str | None = None

    @classmethod
    def parse(cls, key: str) -> BatchKey:
        """Parse a partition key; raises `UserError` when it is not `<pack>` or `<pack>/batch-0001`."""
        pack, separator, batch = key.partition("/")
        if separator and not BATCH_PATTERN.fullmatch(batch):
            raise UserError(f"'{key}' is no batch: expected <pack> or <pack>/batch-0001.")
        return cls(check_pack_name(pack), batch or None)

    @property
    def key(self) -> str:
        """The partition key."""
        return f"{self.pack}/{self.batch}" if self.batch else self.pack

    def __str__(self) -> str:
        return self.key


def is_pack_name(name: str) -> bool:
    """Whether `name` can be a folder name everywhere."""
    return bool(_PACK_PATTERN.fullmatch(name)) and not _WINDOWS_RESERVED.fullmatch(name) and not name.endswith(".")


def check_pack_name(pack: str) -> str:
    """Return `pack` when it can be a folder name everywhere; raises `UserError` otherwise."""
    if not is_pack_name(pack):
        raise UserError(
            f"'{pack}' cannot name a pack: use letters, digits, '.', '_' and '-', starting with a letter or digit."
        )
    return pack


def style_index_name(version: str) -> str:
    """Return `aivj-style-index.<version>.json` (v0 or v1)."""
    return f"aivj-style-index.{version}.json"


def safe_file_stem(text: str, limit: int = 80) -> str:
    """Return a file-name stem that Windows, macOS and Linux accept: ASCII word characters, at most `limit` long."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-. ")[:limit].rstrip("-. ") or "preset"
    return f"_{stem}" if _WINDOWS_RESERVED.fullmatch(stem) else stem
