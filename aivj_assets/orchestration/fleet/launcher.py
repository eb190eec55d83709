"""Starts runs on a worker of the queue `runs`, so that they outlive the daemon; dagster-celery's launcher does it."""

from __future__ import annotations

import os
from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from aivj_assets.layout import resolve_data_root
from aivj_assets.orchestration.fleet.broker import celery_settings
from aivj_assets.orchestration.fleet.lease import RUN_LEASE, Watch, lease_place
from aivj_assets.orchestration.fleet.settings import RUNS_QUEUE, FleetSettings


class FleetRunLauncher(CeleryRunLauncher):  # type: ignore[misc] # untyped
    """Celery's launcher; whether a run lives is told by the run's lease, not by what Redis still knows of its task.

    dagster-celery takes a run whose task state Redis has lost for dead.
    """

    def __init__(self, inst_data: Any = None) -> None:
        settings = FleetSettings.of(os.environ)
        super().__init__(
            RUNS_QUEUE,
            broker=settings.redis_url,
            backend=settings.redis_url,
            config_source=celery_settings(settings),
            inst_data=inst_data,
        )
        self._watch = Watch()
        self._first_seen: dict[str, float] = {}
        self._expiry_s = settings.lease_s

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return that dagster.yaml configures nothing: addresses stay in the environment."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> FleetRunLauncher:
        """Return the launcher."""
        del config_value
        return cls(inst_data)

    @property
    def supports_resume_run(self) -> bool:
        """Whether a run is taken up by another process: it is not, it is tried again as a new run."""
        return False

    def terminate(self, run_id: str) -> bool:
        """End a run that a worker leads; False for one of `aivj run`, which Ctrl-C ends where it was started."""
        run = self._instance.get_run_by_id(run_id)
        return run is not None and DAGSTER_CELERY_TASK_ID_TAG in run.tags and bool(super().terminate(run_id))

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the run's process renews its lease."""
        place = lease_place(resolve_data_root(os.environ).leases_dir, run.run_id, RUN_LEASE)
        now_s = self._watch.clock()
        first_s = self._first_seen.setdefault(run.run_id, now_s)
        # A run is started a moment before it takes its lease.
        if self._watch.lives(place) or (place.newest() == 0 and now_s - first_s < self._expiry_s):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "The process that led the run no longer lives.")
