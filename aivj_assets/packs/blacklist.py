"""Presets that failed for good: a pack's `quality-blacklist.json`, and what an import leaves out because of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aivj_assets.contracts.adoption import NOT_ADOPTED
from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.frames_index import TRANSIENT_REASONS, FailedRecord
from aivj_assets.contracts.manifest import ManifestPreset
from aivj_assets.contracts.quality_blacklist import BlacklistedPreset, QualityBlacklist, UnwantedPreset
from aivj_assets.contracts.verdicts import PresetDecision
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.packs.rendered import Record, RenderedBatch
from aivj_assets.packs.source import Source

BLACKLISTED = "blacklisted"
"""Reason of a preset that an import leaves out."""
_EXCUSES = TRANSIENT_REASONS | {"read-failed", NOT_ADOPTED}
"""Reasons that tell nothing of a preset: trying again may cure them, its copy is gone, an earlier tool passed it by."""


def failed_for_good(record: Record) -> bool:
    """Whether a preset failed for a reason of its own that trying again does not cure, or is quarantined."""
    return isinstance(record, FailedRecord) and (bool(record.quarantined) or _EXCUSES.isdisjoint(record.reasons))


def update_blacklist(old: QualityBlacklist, batches: Sequence[RenderedBatch]) -> QualityBlacklist:
    """Return a pack's blacklist after its batches were rendered.

    Entries of ours stay while nothing speaks against them: a preset that an import left out has no record any more. One
    leaves when its content is ok, or when the preset has another content now. What others added stays as it is. Paths
    are relative to the first batch's `sourceRoot`; a preset from elsewhere is listed by id, URL and content alone.
    """
    outcomes = _Outcomes.of(batches)
    source_root = old.source_root if outcomes.source_root is None else outcomes.source_root
    found = outcomes.failures()
    kept = {entry.preset_id: entry for entry in old.aivj_entries if not outcomes.refute(entry)}
    entries = sorted((kept | found).values(), key=lambda entry: (entry.listed_path, entry.preset_id))
    return _relisted(old, source_root, aivj_entries=entries, person_entries=old.person_entries)


def with_decisions(
    old: QualityBlacklist, decisions: Mapping[str, PresetDecision], batches: Sequence[RenderedBatch]
) -> QualityBlacklist:
    """Return a pack's blacklist with what persons decided, {presetId: decision}, in place of what they did before.

    A preset that is dropped is listed by id, URL, path and content, so that no import takes it again; one that none of
    the batches has keeps its entry. What others put into the lists stays.
    """
    entries = {entry.preset_id: entry for entry in old.person_entries if entry.preset_id in decisions}
    # A copy with the same content may be the one that is kept.
    staying = {
        record.preset_sha256
        for batch in batches
        for record in batch.records.values()
        if record.preset_id not in decisions or decisions[record.preset_id].choice == "keep"
    }
    for batch in batches:
        for preset in batch.manifest.presets:
            decision = decisions.get(preset.id)
            if decision is None:
                continue
            record = batch.records.get(preset.id)
            sha256 = None if record is None or record.preset_sha256 in staying else record.preset_sha256
            entries[preset.id] = UnwantedPreset(
                **_named(batch, preset), sha256=sha256, reasons=[decision.reason], at=decision.at,
                reviewer=decision.reviewer,
            )  # fmt: skip
    wanted = {name: entry for name, entry in entries.items() if decisions[name].choice == "drop"}
    listed = [entry for _, entry in sorted(wanted.items())]
    source_root = old.source_root or next((batch.manifest.source_root for batch in batches), "")
    return _relisted(old, source_root, aivj_entries=old.aivj_entries, person_entries=listed)


def _relisted(
    old: QualityBlacklist,
    source_root: str,
    *,
    aivj_entries: list[BlacklistedPreset],
    person_entries: list[UnwantedPreset],
) -> QualityBlacklist:
    """Return a blacklist with other entries, and the lists that follow from them; what others listed stays."""
    before = _Lists.of([*old.aivj_entries, *old.person_entries], old.source_root)
    after = _Lists.of([*aivj_entries, *person_entries], source_root)
    reasons = {path: why for path, why in old.bad_reasons_by_rel_path.items() if path not in before.reasons}
    return old.model_copy(
        update={
            "generated_at": utc_now(),
            "source_root": source_root,
            "bad_source_rel_paths": _exchanged(old.bad_source_rel_paths, before.reasons, after.reasons),
            "bad_reasons_by_rel_path": {**reasons, **after.reasons},
            "bad_ids": _exchanged(old.bad_ids, before.ids, after.ids),
            "bad_urls": _exchanged(old.bad_urls, before.urls, after.urls),
            "bad_content_sha256": _exchanged(old.bad_content_sha256, before.shas, after.shas),
            "aivj_entries": aivj_entries,
            "person_entries": person_entries,
        }
    )


def unwanted_presets(listed: QualityBlacklist, batches: Sequence[RenderedBatch]) -> dict[str, str]:
    """Return {presetId: why} of the presets of batches that a person or another tool blacklisted.

    What this platform itself lists has failed and is in no index.
    """
    ours = _Lists.of(listed.aivj_entries, listed.source_root)
    told = {entry.preset_id: ", ".join(entry.reasons) for entry in listed.person_entries}
    names = {
        "id": set(listed.bad_ids) - set(ours.ids),
        "url": set(listed.bad_urls) - set(ours.urls),
        "path": {path.replace("\\", "/") for path in set(listed.bad_source_rel_paths) - set(ours.reasons)},
    }
    found: dict[str, str] = {}
    if not any(names.values()):
        return found
    for batch in batches:
        same_source = batch.manifest.source_root == listed.source_root
        for preset in batch.manifest.presets:
            by_path = same_source and (preset.source_rel_path or preset.rel_path) in names["path"]
            if preset.id in names["id"] or preset.url in names["url"] or by_path:
                found[preset.id] = told.get(preset.id) or "blacklisted"
    return found


@dataclass
class Blacklists:
    """What the blacklists of all packs name of one source: {content SHA-256 or path: (pack, why)}."""

    by_sha: dict[str, str] = field(default_factory=dict)
    by_path: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, root: DataRoot, source: Source) -> Blacklists:
        """Read the blacklists under the data root; raises `UserError` when one is malformed."""
        made = cls()
        for pack in root.find_quality_blacklists():
            try:
                made._add(pack, QualityBlacklist.of_pack(root, pack), source)
            except UserError as error:
                raise UserError(f"{error} Or repeat with --keep-blacklisted: no blacklist is read then.") from None
        return made

    def _add(self, pack: str, listed: QualityBlacklist, source: Source) -> None:
        entries = [*listed.aivj_entries, *listed.person_entries]
        known = {entry.sha256: entry.reasons for entry in entries if entry.sha256 is not None}
        for sha in listed.bad_content_sha256:
            self.by_sha.setdefault(sha, _told(pack, known.get(sha, ())))
        if not source.is_root(listed.source_root):
            return
        # A file whose bad content is known may have got another one since: its path says nothing.
        by_content = {entry.listed_path for entry in entries if entry.sha256 is not None}
        for path in listed.bad_source_rel_paths:
            if path not in by_content:
                why = listed.bad_reasons_by_rel_path.get(path, ())
                self.by_path.setdefault(path.replace("\\", "/"), _told(pack, [why] if isinstance(why, str) else why))

    def why(self, sha256: str, rel_path: str) -> str | None:
        """Return which pack blacklists a preset, and for what; None when none does.

        `rel_path` is relative to the source.
        """
        return self.by_sha.get(sha256) or self.by_path.get(rel_path.replace("\\", "/"))


def _told(pack: str, reasons: Sequence[str]) -> str:
    return f"pack '{pack}': {', '.join(reasons) or 'no reason given'}"


@dataclass
class _Outcomes:
    """How presets of the manifests came out, and the content that is ok in any.

    `records` holds the last record of a failed preset and None for one that is ok: of these nothing more is asked.
    `entries` are of what failed for good, `source_root` is the first batch's.
    """

    records: dict[str, FailedRecord | None] = field(default_factory=dict)
    entries: dict[str, BlacklistedPreset] = field(default_factory=dict)
    ok_shas: set[str] = field(default_factory=set)
    source_root: str | None = None

    @classmethod
    def of(cls, batches: Sequence[RenderedBatch]) -> _Outcomes:
        """Go through the batches once: each may be read for it."""
        found = cls()
        ok: dict[str, str | None] = {}
        for batch in batches:
            if found.source_root is None:
                found.source_root = batch.manifest.source_root
            for preset in batch.manifest.presets:
                record = batch.records.get(preset.id)
                if record is None:
                    continue
                ok.pop(preset.id, None)
                found.entries.pop(preset.id, None)
                found.records[preset.id] = record if isinstance(record, FailedRecord) else None
                if not isinstance(record, FailedRecord):
                    ok[preset.id] = record.preset_sha256
                elif failed_for_good(record):
                    found.entries[preset.id] = _entry(batch, preset, record)
        found.ok_shas = {sha for sha in ok.values() if sha is not None}
        return found

    def refute(self, entry: BlacklistedPreset) -> bool:
        """Whether the preset of an entry works, or has another content than the one that failed."""
        if entry.sha256 in self.ok_shas:
            return True
        if entry.preset_id not in self.records:
            return False
        record = self.records[entry.preset_id]
        if record is None:
            return True
        return None not in {entry.sha256, record.preset_sha256} and entry.sha256 != record.preset_sha256

    def failures(self) -> dict[str, BlacklistedPreset]:
        """Return {presetId: entry} of what failed for good; content that is ok in one copy is not bad in another."""
        return {name: entry for name, entry in self.entries.items() if entry.sha256 not in self.ok_shas}


def _entry(batch: RenderedBatch, preset: ManifestPreset, record: FailedRecord) -> BlacklistedPreset:
    return BlacklistedPreset(**_named(batch, preset), sha256=record.preset_sha256, reasons=record.reasons, at=record.at)


def _named(batch: RenderedBatch, preset: ManifestPreset) -> dict[str, Any]:
    """Return by what an entry names its preset."""
    return {
        "preset_id": preset.id,
        "batch": batch.batch.key,
        "source_root": batch.manifest.source_root,
        "source_rel_path": preset.source_rel_path,
        "rel_path": preset.rel_path,
        "url": preset.url,
    }


@dataclass(frozen=True)
class _Lists:
    """What entries of ours put into the lists of the app."""

    reasons: dict[str, list[str]]
    ids: list[str]
    urls: list[str]
    shas: list[str]

    @classmethod
    def of(cls, entries: Iterable[BlacklistedPreset], source_root: str) -> _Lists:
        entries = list(entries)
        return cls(
            {entry.listed_path: entry.reasons for entry in entries if entry.source_root == source_root},
            [entry.preset_id for entry in entries],
            [entry.url for entry in entries],
            [entry.sha256 for entry in entries if entry.sha256 is not None],
        )


def _exchanged(listed: Sequence[str], before: Iterable[str], after: Iterable[str]) -> list[str]:
    """Return a list with what we had put into it before replaced by what we put now, everything once."""
    gone = set(before)
    return list(dict.fromkeys([*(item for item in listed if item not in gone), *after]))
