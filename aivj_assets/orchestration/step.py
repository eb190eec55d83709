"""One step of a batch: guard, lock, one-line failures, and the materialisation's common metadata."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from aivj_assets.contracts.unaccepted import Unaccepted, mark_files
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.orchestration.batch_lock import ProcessMark, acquire_batch
from aivj_assets.orchestration.fleet.lease import living_steps_of
from aivj_assets.orchestration.fleet.steps import held_lease, is_storage_error
from aivj_assets.orchestration.guard import INPUTS_METADATA, UNACCEPTED_METADATA, admit
from aivj_assets.orchestration.instance import STORAGE_ERRNOS
from aivj_assets.orchestration.resources import GuardResource
from aivj_assets.orchestration.stages import STAGES, Stage, content_version

_OWNER_POLL_S = 2.0
_ORPHAN_WAIT_S = 60.0
_STORAGE_RETRIES, _STORAGE_WAIT_S = 5, 10.0
StepContext = dg.AssetExecutionContext | dg.OpExecutionContext


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what a user can mend into a step failure that is one line and is not retried."""
    try:
        yield
    except UserError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    except OSError as error:
        if error.errno not in STORAGE_ERRNOS:
            raise
        text = (
            f"{error.filename or 'The data root'} cannot be written: {error.strerror}. Free space or mend the rights, "
        )
        raise dg.Failure(description=f"{text}then run again; what is done is kept.", allow_retries=False) from None
    except SQLAlchemyError as error:
        # A step of many machines outlives a restart of the database.
        if held_lease() is None or not is_storage_error(error):
            raise
        raise dg.RetryRequested(max_retries=_STORAGE_RETRIES, seconds_to_wait=_STORAGE_WAIT_S) from error


@dataclass
class BatchStep:
    """What an asset of a batch works with."""

    context: StepContext
    stage: Stage
    root: DataRoot
    batch: BatchKey
    folder: BatchDir
    inputs: dict[str, str]
    unaccepted: Unaccepted | None = None
    """The mark of what is made here when a bypass let the step read what is not accepted."""
    started: float = field(default_factory=time.monotonic)

    def facts(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metadata of a materialisation: the stage's own and what all stages record."""
        return {
            "duration_s": round(time.monotonic() - self.started, 3),
            # A stage of several steps tells its own duration.
            **metadata,
            "folder": dg.MetadataValue.path(str(self.folder.path)),
            INPUTS_METADATA: dg.MetadataValue.json(self.inputs),
            **(
                {}
                if self.unaccepted is None
                else {UNACCEPTED_METADATA: dg.MetadataValue.json(self.unaccepted.to_json())}
            ),
        }

    def version(self) -> dg.DataVersion:
        """Return the content version of the files that the step has written, marked where they are past the gates."""
        if self.stage.inputs:
            mark_files(self.stage.files(self.root, self.batch, self.folder), self.unaccepted)
        return dg.DataVersion(content_version(self.root, self.batch, self.stage))

    def output(self, metadata: Mapping[str, Any]) -> dg.Output[None]:
        """Return the materialisation in the form that the last op of a graph-backed asset gives."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            return dg.Output(None, metadata=self.facts(metadata), data_version=self.version())

    def result(self, metadata: Mapping[str, Any]) -> dg.MaterializeResult[Any]:
        """Return the materialisation: content version, inputs, metadata."""
        return dg.MaterializeResult(metadata=self.facts(metadata), data_version=self.version())


def executor_pid() -> int | None:
    """Return the pid of the executor that started this step; None where the step runs in the run's own process."""
    parent = multiprocessing.parent_process()
    return parent.pid if parent is not None else None


def run_owner() -> ProcessMark | None:
    """Return the mark of the executor that started this step; None where the step runs in the run's own process."""
    pid = executor_pid()
    return None if pid is None else ProcessMark.of(pid)


def hold_batch(context: StepContext, root: DataRoot, batch: BatchKey) -> None:
    """Take the batch's lock for this run; raises `UserError` when another run works on the batch."""

    def run_is_over(run_id: str) -> bool | None:
        run = context.instance.get_run_by_id(run_id)
        return None if run is None else run.is_finished

    lease = held_lease()
    acquire_batch(
        root.batch(batch).lock,
        batch=batch.key,
        run_id=context.run.run_id,
        owner_pid=None if lease is not None else executor_pid() or os.getpid(),
        run_is_over=run_is_over,
        living_steps=living_steps_of(root.leases_dir),
        orphan_wait_s=_ORPHAN_WAIT_S if lease is None else 2 * lease.expiry_s,
    )


def end_with(owner: ProcessMark | None) -> None:
    """End this process soon after the one that started it was killed: nobody would take a step's result.

    Files are written whole or not at all, so nothing is left half done. Rendering asks between presets instead.
    """
    if owner is None:
        return

    def watch() -> None:
        while owner.alive:
            time.sleep(_OWNER_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="owner-watch", daemon=True).start()


@contextmanager
def batch_step(
    context: StepContext, root: DataRoot, stage_name: str, guard: GuardResource | None = None
) -> Iterator[BatchStep]:
    """Open a step: this run holds the batch's lock and every ancestor is accepted, or the step fails in one line.

    With a `guard` whose bypass is open it reads what is not accepted too: said in the log, marked in all it makes.
    """
    with user_errors():
        batch = BatchKey.parse(context.partition_key)
        root.require_own_batch(batch)
        end_with(run_owner())
        hold_batch(context, root, batch)
        reason = guard.bypass() if guard is not None else None
        admitted = admit(context.instance, root, batch, stage_name, allow_unaccepted=reason is not None)
        mark = None
        if reason is not None and admitted.passed_over:
            mark = Unaccepted(reason=reason, run_id=context.run.run_id, passed_over=admitted.passed_over)
            context.log.warning(f"Batch {batch}, {stage_name}: {mark.sentence}")
        yield BatchStep(context, STAGES[stage_name], root, batch, root.batch(batch), admitted.inputs, mark)
