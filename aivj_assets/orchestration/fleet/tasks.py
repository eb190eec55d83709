"""The tasks of a worker: dagster-celery's own, each guarded against running twice."""

from __future__ import annotations

import os
from typing import Any

import dagster as dg
from celery import Celery, Task
from celery.exceptions import Retry
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import unpack_value
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task, create_task
from kombu import Queue

from aivj_assets.layout import resolve_data_root
from aivj_assets.orchestration.fleet.broker import celery_settings
from aivj_assets.orchestration.fleet.renderers import wait_for_another_worker
from aivj_assets.orchestration.fleet.settings import QUEUES, FleetSettings
from aivj_assets.orchestration.fleet.steps import (
    BusyError,
    end_this_process,
    events_of_ended_step,
    is_storage_error,
    leased_step,
    packed,
    why_over,
)

_STORAGE_WAIT_S = 10.0


class StepTask(Task):  # type: ignore[misc] # untyped
    """A step: not run when its run is over or its try has ended, and not while another worker runs it.

    It is given back, after a wait, when another worker has it, when this worker's renderer is not the pack's, or when
    the database went away under it. None of that is one of the step's tries.
    """

    abstract = True
    max_retries = None
    # Of what a step returns; the log would show a page a step.
    resultrepr_maxsize = 40
    acks_late = True
    reject_on_worker_lost = True
    settings: FleetSettings
    can_end_process = True

    def __call__(self, execute_step_args_packed: dict[str, Any], executable_dict: dict[str, Any]) -> list[str]:
        """Run the step of a message."""
        args = unpack_value(execute_step_args_packed, as_type=ExecuteStepArgs)
        try:
            return self._run_once(args, execute_step_args_packed, executable_dict)
        except Retry:
            raise
        except BusyError as error:
            raise self._give_back(str(error), self.settings.visibility_timeout_s / 2) from None
        except Exception as error:
            if not is_storage_error(error):
                raise
            raise self._give_back("the database went away", _STORAGE_WAIT_S) from None

    def _run_once(
        self, args: ExecuteStepArgs, execute_step_args_packed: dict[str, Any], executable_dict: dict[str, Any]
    ) -> list[str]:
        root = resolve_data_root(os.environ)
        if args.instance_ref is None:
            raise ValueError("a step's task names no Dagster instance")
        with dg.DagsterInstance.from_ref(args.instance_ref) as instance:
            if why_over(instance, args.run_id) is not None:
                return []
            ended = events_of_ended_step(instance, args)
            if ended is not None:
                return packed(ended)
            wait_s = wait_for_another_worker(instance, root, args)
            if wait_s is not None:
                raise self._give_back("another worker is to run it: renderer, or a full disk here", wait_s)
            end = end_this_process if self.can_end_process else _go_on
            with leased_step(instance, root, self.settings, args, end_process=end):
                # It may have ended while this worker waited for its lease.
                ended = events_of_ended_step(instance, args)
                if ended is not None:
                    return packed(ended)
                return list(self.run(execute_step_args_packed, executable_dict))

    def _give_back(self, why: str, wait_s: float) -> Exception:
        """Return what is raised to give the step back to its queue; it is fetched again after `wait_s`."""
        made: Exception = self.retry(exc=None, countdown=wait_s, throw=False, max_retries=None)
        made.args = (why, *made.args[1:])
        return made


def _go_on(_reason: str) -> None:
    """Do nothing: where a step has no process of its own, it asks `why_stop` itself."""


def worker_app(settings: FleetSettings, *, own_process: bool) -> Celery:
    """Return the application of a worker; `own_process` says whether each step has a process that may be ended."""
    conf = celery_settings(settings)
    app = make_app({"broker": settings.redis_url, "backend": settings.redis_url, "config_source": conf})
    app.conf.task_queues = [Queue(name) for name in QUEUES]
    app.conf.worker_hijack_root_logger = False
    app.conf.worker_redirect_stdouts = False
    if own_process:
        app.conf.worker_max_tasks_per_child = 1
    bound = {"settings": settings, "can_end_process": own_process}
    create_task(app, base=type("BoundStepTask", (StepTask,), bound), acks_late=True, reject_on_worker_lost=True)
    create_execute_job_task(app, acks_late=True, reject_on_worker_lost=True)
    create_resume_job_task(app, acks_late=True, reject_on_worker_lost=True)
    return app
