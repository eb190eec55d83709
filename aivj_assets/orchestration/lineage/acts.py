"""Acts on a whole lineage that a person decides: minor, major, removal of a batch, letting one in again, replay."""

from dataclasses import dataclass, replace

import dagster as dg
import numpy as np
from pydantic import Field

from aivj_assets.cluster.lineage import Act, BatchRows, found, join, leave, refit
from aivj_assets.cluster.version import Version, shas_of
from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.lineage import (
    LineageBatch,
    LineageVersion,
    RemovedBatch,
    RemovedBatches,
    load_members,
    load_rows,
)
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, LineageDir
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import CLUSTER_POOL
from aivj_assets.orchestration.lineage.join import LINEAGE_TIMEOUT_S
from aivj_assets.orchestration.lineage.labels import Say, update_labels
from aivj_assets.orchestration.lineage.store import Lineage, NextVersion, card_digest, lineage_of, put_in_force, stage
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.stages import PUBLISHED_STAGE
from aivj_assets.orchestration.step import user_errors

ACTS = ("minor", "major", "remove", "readmit")


class LineageActConfig(dg.Config):
    """Which lineage, what is done to it, and why."""

    act: str = Field(description="minor or major of a lineage; remove or readmit of a batch")
    reason: str = Field(description="why; kept with the version")
    lineage: str | None = Field(default=None, description="of a minor or major")
    batch: str | None = Field(default=None, description="of remove or readmit")
    k_limit: int | None = Field(default=None, description="of a minor or major: how many clusters there may be")


@dg.op(pool=CLUSTER_POOL)
def lineage_act(context: dg.OpExecutionContext, config: LineageActConfig, data_root: DataRootResource) -> None:
    """Do one act and put its version in force."""
    root = data_root.get()
    with user_errors():
        done = perform(root, config, context.log.info)
    context.log.info(done.sentence)
    context.add_output_metadata(
        {
            "lineage": done.lineage,
            "version": done.facts.number if done.facts else dg.MetadataValue.null(),
            "what": done.sentence,
            "packs_to_publish": dg.MetadataValue.json(done.packs),
            "changed_ids": done.facts.changed if done.facts else 0,
            "births": [line.id for line in done.facts.births] if done.facts else [],
            "retirements": dg.MetadataValue.md(
                markdown_table(
                    ("id", "why", "into"),
                    [
                        (line.id, line.reason, line.into or "-")
                        for line in (done.facts.retirements if done.facts else [])
                    ],
                )
            ),
        }
    )


@dg.job(
    name="lineage_job",
    description="A person's act on a lineage: minor, major, remove a batch, readmit one. Then publish its packs.",
)
def lineage_job() -> None:
    """One act."""
    lineage_act()


@dataclass(frozen=True)
class Done:
    """What an act came to. `packs` are those whose publication it changes."""

    lineage: str
    facts: LineageVersion | None
    sentence: str
    packs: list[str]


def perform(root: DataRoot, config: LineageActConfig, say: Say = lambda _: None) -> Done:
    """Do an act under the lineage's lock; raises `UserError` with the lineage as it was."""
    why = require_reason(config.reason)
    if config.act not in ACTS:
        raise UserError(f"'{config.act}' is no act on a lineage; there are {', '.join(ACTS)}.")
    if config.act in {"minor", "major"}:
        if config.lineage is None:
            raise UserError(f"A {config.act} needs the name of the lineage.")
        return _refit(root, root.lineage(config.lineage), config.act, why, k_limit=config.k_limit, say=say)
    if config.batch is None:
        raise UserError(f"'{config.act}' needs the key of a batch.")
    batch = BatchKey.parse(config.batch)
    folder = lineage_of(root, batch.pack)
    return _remove(folder, batch, why) if config.act == "remove" else _readmit(folder, batch)


def require_reason(text: str) -> str:
    """Return a reason as one line; raises `UserError` when it says nothing."""
    why = " ".join(text.split())
    if not why:
        raise UserError("Say why: --reason TEXT; it is kept with the lineage's version.")
    return why


def require_removed(folder: LineageDir, batch: BatchKey) -> RemovedBatches:
    """Return the batches that were removed; raises `UserError` when this one is not among them."""
    removed = RemovedBatches.of(folder)
    if batch.key not in removed.batches:
        raise UserError(f"Batch {batch} was not removed from lineage '{folder.name}'.")
    return removed


def packs_of_act(root: DataRoot, act: str | None, lineage: str | None, batch: str | None) -> list[str]:
    """Return the packs whose publication an act may change, sorted."""
    if act == "readmit":
        return []
    own = [] if batch is None else [BatchKey.parse(batch).pack]
    name = lineage if lineage is not None else None if batch is None else lineage_of(root, own[0]).name
    opened = None if name is None else Lineage.open(root.lineage(name))
    return sorted({*own, *([] if opened is None else _packs(opened))})


def has_accepted_batch(instance: dg.DagsterInstance, root: DataRoot, pack: str) -> bool:
    """Whether there is anything of a pack to publish."""
    batches = [batch for batch in root.find_batches() if batch.pack == pack]
    return any(acceptance_problem(instance, root, batch, PUBLISHED_STAGE) is None for batch in batches)


def require_lineage(folder: LineageDir) -> Lineage:
    """Return the lineage's version in force; raises `UserError` naming the known ones when it has none."""
    lineage = Lineage.open(folder)
    if lineage is None:
        known = ", ".join(DataRoot(folder.path.parent.parent.parent).find_lineages()) or "none yet"
        raise UserError(f"There is no lineage '{folder.name}' (known: {known}); a pack's first batch begins one.")
    return lineage


def _refit(root: DataRoot, folder: LineageDir, kind: str, why: str, *, k_limit: int | None, say: Say) -> Done:
    with held_lock(folder.lock, timeout_s=LINEAGE_TIMEOUT_S):
        former = require_lineage(folder)
        parameters = former.version.state.parameters
        if k_limit is not None:
            parameters = replace(parameters, k_limit=k_limit)
        act = refit(former.version, kind, open_rows=former.open_rows, parameters=parameters)
        lineage = stage(folder, former, act, _without_batch(former, kind, why, former.facts.batches))
        update_labels(root, lineage, again=kind == "major", say=say)
        put_in_force(lineage)
    facts = lineage.facts
    share = facts.changed / facts.presets
    sentence = (
        f"Lineage '{folder.name}', version {facts.number}: a {kind} changed {facts.changed} of {facts.presets} "
        f"published ids ({share:.1%}), founded {len(facts.births)} clusters and retired {len(facts.retirements)}; "
        f"k {facts.k}."
    )
    return Done(folder.name, facts, sentence, _packs(lineage))


def _remove(folder: LineageDir, batch: BatchKey, why: str) -> Done:
    with held_lock(folder.lock, timeout_s=LINEAGE_TIMEOUT_S):
        former = require_lineage(folder)
        act = leave(former.version, batch.key, open_rows=former.open_rows, held=former.held)
        # First the note, which alone keeps the batch out of publications; then the version.
        removed = RemovedBatches.of(folder)
        removed.batches[batch.key] = RemovedBatch(at=utc_now(), reason=why)
        removed.save(folder.removed)
        rest = [other for other in former.facts.batches if other.key != batch.key]
        lineage = stage(folder, former, act, replace(_without_batch(former, "removal", why, rest), batch=batch.key))
        put_in_force(lineage)
    gone = len(former.version) - len(lineage.version)
    sentence = (
        f"Batch {batch} left lineage '{folder.name}' (version {lineage.facts.number}) with {gone} presets that no "
        f"other batch has; its files stay. No other preset's cluster changed."
    )
    return Done(folder.name, lineage.facts, sentence, sorted({*_packs(lineage), batch.pack}))


def _readmit(folder: LineageDir, batch: BatchKey) -> Done:
    with held_lock(folder.lock, timeout_s=LINEAGE_TIMEOUT_S):
        removed = require_removed(folder, batch)
        del removed.batches[batch.key]
        removed.save(folder.removed)
    sentence = f"Batch {batch} may join lineage '{folder.name}' again: aivj run {batch}."
    return Done(folder.name, None, sentence, [])


def _without_batch(former: Lineage, strategy: str, why: str, batches: list[LineageBatch]) -> NextVersion:
    facts = former.facts
    return NextVersion(
        strategy=strategy, batches=list(batches), card=facts.card, requested_k=facts.requested_k,
        k_reason=facts.k_reason, reason=why,
    )  # fmt: skip


def _packs(lineage: Lineage) -> list[str]:
    return sorted({BatchKey.parse(key).pack for key in lineage.keys})


def replay(folder: LineageDir) -> list[str]:
    """Make every version of a lineage again from the rows it keeps, in the order taken; returns what differs.

    Empty when each came out the same to the last bit. Raises `UserError` for broken files.
    """
    chain = [facts.number for facts in require_lineage(folder).history()][::-1]
    problems = []
    former: Lineage | None = None
    for number in chain:
        stored = Lineage.at(folder, number)
        made = _again(folder, former, stored)
        differing = [
            name
            for name, array in stored.version.to_plain()[1].items()
            if not np.array_equal(array, made.version.to_plain()[1][name])
        ]
        if differing:
            problems.append(f"version {number} ({stored.facts.kind}) differs in {', '.join(differing)}")
        former = stored
    return problems


def _again(folder: LineageDir, former: Lineage | None, stored: Lineage) -> Act:
    facts, parameters = stored.facts, stored.version.state.parameters
    model = card_digest(facts.card)
    if former is not None and facts.kind == "removal":
        return leave(former.version, str(facts.batch), open_rows=former.open_rows, held=former.held)
    if former is not None and facts.batch is None:
        return refit(former.version, facts.kind, open_rows=former.open_rows, parameters=parameters)
    rows = _batch_rows(folder, former, stored)
    if former is None or facts.kind == "anew":
        after = None if former is None else former.version
        baseline = facts.kind == "baseline"
        labels = stored.version.numbers[stored.version.places_of(rows.shas)] if baseline else None
        reason = facts.retirements[0].reason if facts.retirements else ""
        return found(rows, model=model, parameters=parameters, after=after, labels=labels, reason=reason)
    act = join(
        former.version, rows, strategy=facts.strategy, open_rows=former.open_rows, held=former.held, model=model,
        parameters=parameters,
    )  # fmt: skip
    if act is None:
        raise UserError(
            f"version {facts.number} of lineage '{folder.name}' brought nothing; its files are of two lineages."
        )
    return act


def _batch_rows(folder: LineageDir, former: Lineage | None, stored: Lineage) -> BatchRows:
    """Return a batch as it came: rows that it brought, and of presets known before the rows that the lineage had."""
    members = load_members(folder, stored.facts.number)
    shas = shas_of(members.preset_sha256)
    rows = np.empty((len(shas), stored.version.state.dim), dtype=np.float32)
    brought = np.array(members.brought, dtype=np.int64)
    own = load_rows(folder, stored.facts.number)
    rows[brought] = own
    of_brought = {shas[place]: row for row, place in enumerate(brought.tolist())}
    for place in np.setdiff1d(np.arange(len(shas)), brought).tolist():
        rows[place] = own[of_brought[shas[place]]] if shas[place] in of_brought else _known_row(former, shas[place])
    return BatchRows(str(stored.facts.batch), shas, rows)


def _known_row(former: Lineage | None, sha: bytes) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    version: Version | None = None if former is None else former.version
    place = -1 if version is None else int(version.places_of(np.array([sha], dtype="S64"))[0])
    if former is None or version is None or place < 0:
        raise UserError("a preset's row is missing in the lineage's folder; bring it back from a backup.")
    row: np.ndarray[tuple[int], np.dtype[np.float32]] = former.open_rows(int(version.homes[place]))[version.rows[place]]
    return row
