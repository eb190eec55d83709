"""`requires` of a pack's settings: packs that must be accepted before its own batches begin.

There is no way round it but to edit `aivj-pack.json`.
"""

from __future__ import annotations

import dagster as dg

from aivj_assets.contracts.lineage import RemovedBatches
from aivj_assets.contracts.pack_settings import PACK_SETTINGS_NAME, PackSettings
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.lineage.store import lineage_of
from aivj_assets.orchestration.stages import PUBLISHED_STAGE


def waiting_for(instance: dg.DagsterInstance, root: DataRoot, pack: str) -> list[str]:
    """Return what a pack waits for, one phrase for each required pack that is not accepted; empty: it may begin.

    A pack is accepted when it has a batch and all its batches that nobody removed are accepted. The guard hashes their
    files, so this may take seconds for a large pack. Raises `UserError` when the pack's own settings are malformed.
    """
    required = list(dict.fromkeys(PackSettings.of_pack(root, pack).requires))
    if not required:
        return []
    batches = root.find_batches()
    found = (_missing(instance, root, pack, name, batches) for name in required)
    return [phrase for phrase in found if phrase is not None]


def waiting_sentence(root: DataRoot, pack: str, waits: list[str]) -> str:
    """Return one line for a person: what the pack waits for, and how to have it otherwise."""
    return (
        f"Pack '{pack}' waits for {'; for '.join(waits)}. It can be run when that is accepted; what it requires stands "
        f"in {root.pack_dir(pack) / PACK_SETTINGS_NAME}."
    )


def require_not_waiting(instance: dg.DagsterInstance, root: DataRoot, pack: str) -> None:
    """Raise `UserError` when a pack waits for another one."""
    waits = waiting_for(instance, root, pack)
    if waits:
        raise UserError(waiting_sentence(root, pack, waits))


def _missing(
    instance: dg.DagsterInstance, root: DataRoot, pack: str, required: str, batches: list[BatchKey]
) -> str | None:
    """Return what `required` lacks, or None when it is accepted."""
    try:
        circle = _way(root, required, pack)
        if circle is not None:
            return f"pack '{required}', in a circle ({' waits for '.join([pack, *circle])}): take one requirement out"
        own = [batch for batch in batches if batch.pack == required]
        if not own:
            return f"pack '{required}', which is not there"
        removed = RemovedBatches.of(lineage_of(root, required)).batches
    except UserError as error:
        return f"pack '{required}', which cannot be read: {str(error).rstrip('.')}"
    counted = [batch for batch in own if batch.key not in removed]
    if not counted:
        return f"pack '{required}' (all its batches are removed from their lineage)"
    problems = [(batch, acceptance_problem(instance, root, batch, PUBLISHED_STAGE)) for batch in counted]
    first = next(((batch, problem) for batch, problem in problems if problem is not None), None)
    if first is None:
        return None
    accepted = sum(problem is None for _, problem in problems)
    return f"pack '{required}' ({accepted} of {len(counted)} batches accepted; {first[0]}: {first[1]})"


def _way(root: DataRoot, start: str, goal: str) -> list[str] | None:
    """Return packs from `start` to `goal`, each requiring the next, or None when there is no such way."""
    ways = [[start]]
    seen = {start}
    while ways:
        way = ways.pop(0)
        if way[-1] == goal:
            return way
        for name in PackSettings.of_pack(root, way[-1]).requires:
            if name not in seen or name == goal:
                seen.add(name)
                ways.append([*way, name])
    return None
