"""The executor of the cluster profile: dagster-celery's loop, with results that a restart of Redis cannot take away."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
from celery import Celery
from dagster._core.execution.retries import RetryMode, get_retries_config
from dagster._core.executor.base import Executor
from dagster_celery.config import DEFAULT_CONFIG, dict_wrapper
from dagster_celery.core_execution_loop import core_celery_execution_loop
from dagster_celery.executor import _submit_task

from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, resolve_data_root
from aivj_assets.orchestration.fleet.announce import seen_workers
from aivj_assets.orchestration.fleet.broker import celery_settings, require_broker
from aivj_assets.orchestration.fleet.lease import RUN_LEASE, forget_run, lease_place, take
from aivj_assets.orchestration.fleet.settings import STEP_QUEUES, FleetSettings
from aivj_assets.orchestration.fleet.steps import ended_events, packed

logger = logging.getLogger(__name__)
_LOOK_INTO_LOG_S = 15.0


class FollowedResult:
    """A step's result: Celery's, or what the event log holds when the step has ended and Redis has lost the result."""

    def __init__(self, result: Any, instance: dg.DagsterInstance, of: tuple[str, str, int]) -> None:
        """Follow a result; `of` is (run id, step key, how many tries of the step came before)."""
        self._result, self._instance, self._of = result, instance, of
        self._looked_s = time.monotonic()
        self._events: list[str] | None = None

    def ready(self) -> bool:
        """Whether the step has ended."""
        if self._events is not None:
            return True
        try:
            if self._result.ready():
                return True
        except Exception as error:  # noqa: BLE001 - whatever the client raises while Redis is away
            logger.warning("Redis does not answer at the moment (%s).", type(error).__name__)
        if time.monotonic() - self._looked_s > _LOOK_INTO_LOG_S:
            events = ended_events(self._instance, *self._of)
            self._events = None if events is None else packed(events)
            self._looked_s = time.monotonic()
        return self._events is not None

    def get(self) -> list[str]:
        """Return the step's serialised events; raises what its task raised."""
        if self._events is not None:
            return self._events
        # A run is a task too, and Celery warns of tasks that wait for others; this result is there.
        return list(self._result.get(disable_sync_subtasks=False))

    def revoke(self) -> None:
        """Take the step back as long as no worker has begun it; one that has ends when its run is over."""
        self._result.revoke()


class FleetExecutor(Executor):
    """Submits each step to its queue and follows it; holds the lease by which the run is known to live."""

    def __init__(self, settings: FleetSettings, retries: RetryMode) -> None:
        self._settings = settings
        self._retries = retries

    @property
    def retries(self) -> RetryMode:
        """How steps that ask for another try get it."""
        return self._retries

    def app_args(self) -> dict[str, Any]:
        """Return what Celery's application is made of; called by dagster-celery's loop."""
        return {
            "broker": self._settings.redis_url,
            "backend": self._settings.redis_url,
            "config_source": dict_wrapper({**DEFAULT_CONFIG, **celery_settings(self._settings)}),
        }

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """Run a plan's steps on the workers."""
        run_id = plan_context.run_id
        root = resolve_data_root(os.environ)
        leases_dir = root.leases_dir
        place = lease_place(leases_dir, run_id, RUN_LEASE)
        lease = take(place, expiry_s=self._settings.lease_s)
        if lease is None:
            raise UserError(f"Run {run_id} is led by another process already.")
        lease.keep(_end)
        try:
            missing = _queues_without_worker(root)
            if missing:
                plan_context.log.warning(f"No living worker of {', '.join(missing)}: steps that go there wait for one.")
            yield from core_celery_execution_loop(plan_context, execution_plan, step_execution_fn=_submit)
        finally:
            lease.release()
            forget_run(leases_dir, run_id)


def _queues_without_worker(root: DataRoot) -> list[str]:
    served = {queue for seen in seen_workers(root) if seen.alive for queue in seen.worker.queues}
    return [queue for queue in STEP_QUEUES if queue not in served]


def _end(reason: str) -> None:
    logger.error("This run's process ends: %s.", reason)
    os._exit(1)


def _submit(  # noqa: PLR0917 - as dagster-celery calls it
    app: Celery, plan_context: Any, step: Any, queue: str, priority: int, known_state: Any
) -> FollowedResult:
    result = _submit_task(app, plan_context, step, queue, priority, known_state)
    tries_before = known_state.get_retry_state().get_attempt_count(step.key) if known_state else 0
    return FollowedResult(result, plan_context.instance, (plan_context.run_id, step.key, tries_before))


def fleet_executor(settings: FleetSettings) -> dg.ExecutorDefinition:
    """Return the executor of the cluster profile."""
    retries_config: Any = get_retries_config()  # type: ignore[no-untyped-call]

    @dg.executor(
        name="celery",
        config_schema={"retries": retries_config},
        requirements=dg.multiple_process_executor_requirements(),
    )
    def celery(context: dg.InitExecutorContext) -> FleetExecutor:
        require_broker(settings)
        retries: Any = context.executor_config["retries"]
        return FleetExecutor(settings, RetryMode.from_config(retries) or RetryMode.ENABLED)

    return celery
