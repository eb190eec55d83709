"""Taking in files of verdicts: validated as a whole, stored in the lineage, labels and blacklists with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aivj_assets.cluster.state import Retired
from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.cluster_labels import ClusterLabels, with_person_label
from aivj_assets.contracts.clusters import cluster_id
from aivj_assets.contracts.findings import examples
from aivj_assets.contracts.quality_blacklist import QualityBlacklist
from aivj_assets.contracts.verdicts import LineageVerdicts, PresetDecision, Statement, VerdictsFile, moment
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, LineageDir
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.lineage.join import LINEAGE_TIMEOUT_S
from aivj_assets.orchestration.lineage.store import Lineage
from aivj_assets.packs.blacklist import with_decisions
from aivj_assets.packs.rendered import RenderedBatch

_CLOCK_ERROR = timedelta(days=1)


@dataclass
class Stored:
    """What importing files changed in one lineage, and what a person should be told of them."""

    lineage: str
    clusters: list[str] = field(default_factory=list)
    """Clusters of which something counts that did not count before."""
    labels: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    """Presets that are blacklisted now and were not before."""
    kept: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything that counts has changed."""
        return bool(self.clusters or self.labels or self.dropped or self.kept)


def import_files(root: DataRoot, paths: Sequence[Path], *, timeout_s: float = LINEAGE_TIMEOUT_S) -> list[Stored]:
    """Validate files of verdicts and store them in their lineages, each lineage's under its lock.

    All are read and held against their lineages before anything is stored. The order of files does not matter, and a
    file that was imported changes nothing. Raises `UserError`, with nothing stored, when a file is malformed or of a
    lineage, version or cluster that does not exist here, or when a lineage stays locked for longer than `timeout_s`.
    """
    by_lineage: defaultdict[str, list[tuple[Path, VerdictsFile]]] = defaultdict(list)
    for path in paths:
        file = read_verdicts(root, path)
        by_lineage[file.lineage].append((path, file))
    return [_store(root, root.lineage(name), files, timeout_s) for name, files in sorted(by_lineage.items())]


def read_verdicts(root: DataRoot, path: Path) -> VerdictsFile:
    """Read one file and hold it against its lineage; raises `UserError` in one line, with the file's name."""
    file = VerdictsFile.load(path)
    try:
        BatchKey.parse(file.batch)
        _require_known(root, file)
        _require_past(file)
    except UserError as error:
        raise UserError(f"{path} is not imported: {error}") from None
    return file


def _require_known(root: DataRoot, file: VerdictsFile) -> None:
    lineage = Lineage.open(root.lineage(file.lineage))
    if lineage is None:
        known = ", ".join(root.find_lineages()) or "none yet"
        raise UserError(f"there is no lineage '{file.lineage}' (known: {known}).")
    state = lineage.version.state
    if file.lineage_version > lineage.facts.number:
        raise UserError(
            f"it is of version {file.lineage_version} of lineage '{lineage.name}', which is at version "
            f"{lineage.facts.number}; was it exported from another data root?"
        )
    unknown = [name for name in file.clusters if int(name[1:]) >= state.next_number or name != _canonical(name)]
    if unknown:
        last = cluster_id(state.next_number - 1)
        raise UserError(
            f"lineage '{lineage.name}' has never had {examples(sorted(unknown))} (its ids go to {last}); was it "
            "exported from another data root?"
        )


def _canonical(name: str) -> str:
    return cluster_id(int(name[1:]))


def _require_past(file: VerdictsFile) -> None:
    # The latest statement counts: one from the future would never give way.
    limit = datetime.now(UTC) + _CLOCK_ERROR
    times = {file.generated_at, *(verdict.at for verdict in file.clusters.values())}
    late = sorted(at for at in times if moment(at) > limit)
    if late:
        raise UserError(f"it is from the future ({late[0]}); set the clock of the machine that it comes from.")


def _store(root: DataRoot, folder: LineageDir, files: Sequence[tuple[Path, VerdictsFile]], timeout_s: float) -> Stored:
    made = Stored(folder.name)
    with held_lock(folder.lock, timeout_s=timeout_s):
        lineage = Lineage.open(folder)
        if lineage is None:
            raise UserError(f"Lineage '{folder.name}' has no version any more; nothing was imported.")
        before = LineageVerdicts.of(folder)
        owners = _Owners(root, lineage)
        after = before
        now = utc_now()
        for path, file in files:
            made.told += _told(lineage, path, file)
            after = after.with_file(_without_unknown(owners, path, file, made.told), now)
        _write(lineage, owners, before, after, made)
    return made


def restore_presets(root: DataRoot, folder: LineageDir, preset_ids: Sequence[str]) -> Stored:
    """Take back that presets are dropped; raises `UserError`, with nothing changed, when one of them is not."""
    made = Stored(folder.name)
    with held_lock(folder.lock, timeout_s=LINEAGE_TIMEOUT_S):
        lineage, before = Lineage.open(folder), LineageVerdicts.of(folder)
        wrong = sorted(set(preset_ids) - before.dropped.keys())
        if lineage is None or wrong:
            raise UserError(f"No verdict of lineage '{folder.name}' drops {examples(wrong or list(preset_ids))}.")
        now = utc_now()
        taken_back = {
            name: PresetDecision(choice="keep", reason="restored", at=now, batch=before.presets[name].batch)
            for name in preset_ids
        }
        after = before.model_copy(update={"generated_at": now, "presets": {**before.presets, **taken_back}})
        _write(lineage, _Owners(root, lineage), before, after, made)
    return made


def _write(lineage: Lineage, owners: _Owners, before: LineageVerdicts, after: LineageVerdicts, made: Stored) -> None:
    """Write what counts now, and note in `made` what counts that did not before."""
    ids = before.clusters.keys() | after.clusters.keys()
    made.clusters = sorted(name for name in ids if before.said(name).words != after.said(name).words)
    made.dropped = sorted(after.dropped.keys() - before.dropped.keys())
    made.kept = sorted(before.dropped.keys() - after.dropped.keys())
    # Blacklists first, as a malformed one stops all; verdicts last: what is cut off before them is done on repetition.
    if after.presets:
        owners.write_blacklists(after)
    made.labels = _set_labels(lineage, before, after, utc_now())
    if after != before:
        after.save(lineage.folder.verdicts)


def _told(lineage: Lineage, path: Path, file: VerdictsFile) -> list[str]:
    told = []
    retired: dict[str, Retired] = {cluster_id(line.number): line for line in lineage.version.state.retired}
    living = {cluster_id(int(number)) for number in lineage.version.state.numbers}
    for name in sorted(file.clusters.keys() - living):
        line = retired.get(name)
        into = f" (most of it went to {cluster_id(line.into)})" if line is not None and line.into is not None else ""
        told.append(f"{path.name}: {name} is retired{into}; what was said of it is kept and changes nothing.")
    if lineage.batch(file.batch) is None:
        told.append(f"{path.name}: batch {file.batch} is not in lineage '{lineage.name}' any more; its verdicts count.")
    return told


class _Owners:
    """Which pack of a lineage has a preset, from the batches' manifests, which are read when they are asked for."""

    def __init__(self, root: DataRoot, lineage: Lineage) -> None:
        self._root, self._lineage = root, lineage
        self._packs: dict[str, str] | None = None

    def pack(self, preset_id: str) -> str | None:
        """Return the pack that has a preset; None when no batch of the lineage has it."""
        if self._packs is None:
            self._packs = {
                name: BatchKey.parse(batch.key).pack
                for batch in self._lineage.facts.batches
                for name in self._lineage.members(batch).preset_ids
            }
        return self._packs.get(preset_id)

    def batches(self, pack: str) -> list[RenderedBatch]:
        """Return the batches of a pack that are in the lineage and can be read."""
        found = []
        for batch in self._lineage.facts.batches:
            key = BatchKey.parse(batch.key)
            if key.pack == pack and self._root.manifest(key).is_file():
                found.append(RenderedBatch.read(self._root, key))
        return found

    def write_blacklists(self, verdicts: LineageVerdicts) -> None:
        """Put what persons decided into the blacklists of the lineage's packs; raises `UserError` before the first."""
        by_pack: defaultdict[str, dict[str, PresetDecision]] = defaultdict(dict)
        for name, decision in verdicts.presets.items():
            pack = self.pack(name)
            if pack is not None:
                by_pack[pack][name] = decision
        made = {
            pack: with_decisions(QualityBlacklist.of_pack(self._root, pack), decisions, self.batches(pack))
            for pack, decisions in sorted(by_pack.items())
        }
        for pack, blacklist in made.items():
            blacklist.save_if_changed(self._root.quality_blacklist(pack))


def _without_unknown(owners: _Owners, path: Path, file: VerdictsFile, told: list[str]) -> VerdictsFile:
    """Return a file without decisions on presets that no batch of the lineage has; a group keeps its known ones."""
    named = {name for group in file.keep for name in group.presets} | {entry.preset_id for entry in file.blacklist}
    unknown = sorted(name for name in named if owners.pack(name) is None)
    if not unknown:
        return file
    told.append(f"{path.name}: no batch of lineage '{file.lineage}' has {examples(unknown)}; passed over.")
    lost = set(unknown)
    groups = [
        group.model_copy(update={"presets": [name for name in group.presets if name not in lost]})
        for group in file.keep
        if group.keep not in lost
    ]
    return file.model_copy(
        update={
            "keep": [group for group in groups if len(group.presets) > 1],
            "blacklist": [entry for entry in file.blacklist if entry.preset_id not in lost],
        }
    )


def _set_labels(lineage: Lineage, before: LineageVerdicts, after: LineageVerdicts, now: str) -> dict[str, str]:
    """Give clusters the labels that count now, unless a person gave one later; returns {cluster: label} of new ones.

    What counted before is left alone: a person may have taken the label back since.
    """
    path = lineage.folder.labels
    labels = ClusterLabels.load(path) if path.exists() else ClusterLabels(generated_at=now, lineage=lineage.name)
    known = {cluster_id(number) for number in range(lineage.version.state.next_number)}
    new: dict[str, str] = {}
    for name in after.clusters:
        said, known_before = after.said(name).label, before.said(name).label
        if said is None or said.label is None or _is_later(labels, name, said):
            continue
        if known_before is not None and known_before.label == said.label:
            continue
        labelled = with_person_label(labels, name, said.label, known_ids=known, at=said.at)
        if labelled is not labels:
            labels, new[name] = labelled, said.label
    if new:
        labels.save(path)
    return new


def _is_later(labels: ClusterLabels, name: str, said: Statement) -> bool:
    entry = labels.labels.get(name)
    if entry is None or entry.source != "person":
        return False
    try:
        return moment(entry.set_at) > moment(said.at)
    except ValueError:
        return False
