"""`import_qa_verdicts`: files of verdicts that are put into a lineage's `inbox/` are imported."""

import json
from pathlib import Path

import dagster as dg

from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, sha256_file
from aivj_assets.orchestration.automation import PRIORITY_TAG
from aivj_assets.orchestration.commands.verdicts import packs_to_publish, stored_lines
from aivj_assets.orchestration.jobs import publish_job
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.verdicts.intake import import_files, read_verdicts
from aivj_assets.orchestration.verdicts.known import Judged
from aivj_assets.orchestration.verdicts.record import bring_up_to_date

# A tick must not wait for a batch that joins.
_LOCK_TIMEOUT_S = 5.0


@dg.sensor(
    job=publish_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Verdicts of the QA page that lie in artifacts/lineages/<lineage>/inbox are imported, and the packs "
    "that they change are published. Files stay where they are.",
)
def import_qa_verdicts(
    context: dg.SensorEvaluationContext, data_root: DataRootResource
) -> dg.SensorResult | dg.SkipReason:
    """Import files that are new or changed; one that cannot be imported is told once and tried again when it changes.

    A file that is being copied in is such a one, too.
    """
    root = data_root.get()
    seen = _seen(context.cursor)
    found = {path: digest for path in find_inbox_files(root) if (digest := _digest(path)) is not None}
    new = [path for path, digest in found.items() if seen.get(_name(root, path)) != digest]
    cursor = json.dumps({_name(root, path): digest for path, digest in found.items()}, sort_keys=True)
    if not new:
        return dg.SkipReason(f"{len(found)} files of verdicts known, none new")
    good = [path for path in new if _is_good(context, root, path)]
    try:
        requests = _follow(context, root, good) if good else []
    except UserError as error:
        # Not seen yet: a batch joins, or a person mends what is malformed.
        context.log.warning(f"Verdicts are imported later: {error}")
        return dg.SkipReason(f"verdicts are imported later: {error}")
    return dg.SensorResult(
        run_requests=requests,
        cursor=cursor,
        skip_reason=None if requests else f"{len(good)} of {len(new)} new files imported; nothing to publish",
    )


def find_inbox_files(root: DataRoot) -> list[Path]:
    """Return the JSON files in the inboxes of all lineages that have a version, sorted."""
    return [
        path for name in root.find_lineages() for path in sorted(root.lineage(name).inbox.glob("*.json"))
        if not path.name.startswith(".")
    ]  # fmt: skip


def _follow(context: dg.SensorEvaluationContext, root: DataRoot, good: list[Path]) -> list[dg.RunRequest]:
    requests: dict[str, dg.RunRequest] = {}
    for made in import_files(root, good, timeout_s=_LOCK_TIMEOUT_S):
        for line in stored_lines(made):
            context.log.info(line)
        judged = Judged.open(root, made.lineage)
        if judged is None:
            continue
        bring_up_to_date(context.instance, judged, context.log.warning)
        said = sha256_file(judged.lineage.folder.verdicts)[:16] if judged.lineage.folder.verdicts.exists() else ""
        for pack in packs_to_publish(context.instance, judged):
            requests[pack] = dg.RunRequest(
                run_key=f"{pack}:verdicts-{said}", partition_key=pack, tags={"aivj/pack": pack, PRIORITY_TAG: "1"}
            )
    return list(requests.values())


def _is_good(context: dg.SensorEvaluationContext, root: DataRoot, path: Path) -> bool:
    try:
        read_verdicts(root, path)
    except UserError as error:
        context.log.error(str(error))  # noqa: TRY400 - a line, no traceback
        return False
    return True


def _seen(cursor: str | None) -> dict[str, str]:
    try:
        data = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def _digest(path: Path) -> str | None:
    try:
        return sha256_file(path)
    except OSError:
        return None


def _name(root: DataRoot, path: Path) -> str:
    return path.relative_to(root.path).as_posix()
