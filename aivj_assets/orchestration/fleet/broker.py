"""Celery's settings for the broker, and the application that workers and executors share."""

from __future__ import annotations

from typing import Any

from aivj_assets.errors import UserError
from aivj_assets.orchestration.fleet.settings import (
    DEFAULT_QUEUE,
    REDIS_VARIABLE,
    FleetSettings,
    where,
)

_CONNECT_TIMEOUT_S, _SOCKET_TIMEOUT_S = 10, 30
_RESTORE_INTERVAL_S = 10
# Five minutes.
_PUBLISH_RETRIES = {"max_retries": 60, "interval_start": 0.2, "interval_step": 0.5, "interval_max": 5}
# Results are read at once; what is left is of runs that ended before.
_RESULT_EXPIRES_S = 3 * 86_400


def celery_settings(settings: FleetSettings) -> dict[str, Any]:
    """Return Celery's settings: a step is acknowledged when it is done, and one that was lost is run again.

    Redis knows of no lost worker: what is not acknowledged within the visibility timeout is given to another one. A
    step that goes on for longer is given out as well, and its lease sends that copy back.
    """
    return {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "task_track_started": True,
        "task_default_queue": DEFAULT_QUEUE,
        "broker_transport_options": {
            "visibility_timeout": settings.visibility_timeout_s,
            "unacked_restore_interval": min(_RESTORE_INTERVAL_S, settings.visibility_timeout_s),
            "unacked_restore_throttle": 1,
            "socket_timeout": _SOCKET_TIMEOUT_S,
            "socket_connect_timeout": _CONNECT_TIMEOUT_S,
            "socket_keepalive": True,
            "retry_on_timeout": True,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "redis_socket_timeout": _SOCKET_TIMEOUT_S,
        "redis_socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "redis_socket_keepalive": True,
        "redis_retry_on_timeout": True,
        "redis_backend_health_check_interval": _SOCKET_TIMEOUT_S,
        "result_backend_always_retry": True,
        "result_backend_max_sleep_between_retries_ms": 2000,
        "result_expires": _RESULT_EXPIRES_S,
        "task_publish_retry_policy": _PUBLISH_RETRIES,
    }


def require_broker(settings: FleetSettings) -> None:
    """Raise `UserError` when Redis does not answer."""
    import redis

    client = redis.Redis.from_url(
        settings.redis_url, socket_connect_timeout=_CONNECT_TIMEOUT_S, socket_timeout=_CONNECT_TIMEOUT_S
    )
    try:
        client.ping()
    except redis.RedisError as error:
        # An authentication error tells no password, and neither does a refused connection.
        told = " ".join(str(error).split()).rstrip(".")
        place = where(settings.redis_url)
        raise UserError(f"Redis at {place} ({REDIS_VARIABLE}) cannot be used: {told}.") from None
    finally:
        client.close()
