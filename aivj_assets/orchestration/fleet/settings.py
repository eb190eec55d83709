"""Which profile runs, and what the cluster profile is told by the environment. No broker is asked here."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, urlsplit

from aivj_assets.errors import UserError

PROFILE_VARIABLE = "AIVJ_PROFILE"
POSTGRES_VARIABLE = "AIVJ_POSTGRES_URL"
REDIS_VARIABLE = "AIVJ_REDIS_URL"
VISIBILITY_VARIABLE = "AIVJ_VISIBILITY_TIMEOUT_S"
LEASE_VARIABLE = "AIVJ_LEASE_S"
RUNS_VARIABLE = "AIVJ_RUNS"
LOCAL, CLUSTER = PROFILES = ("local", "cluster")

RENDER_QUEUE, EMBED_QUEUE, DEFAULT_QUEUE, RUNS_QUEUE = QUEUES = ("render", "embed", "default", "runs")
STEP_QUEUES = (RENDER_QUEUE, EMBED_QUEUE, DEFAULT_QUEUE)
QUEUE_TAG = "dagster-celery/queue"
"""Of an op: on which workers its steps run. Other executors do not look at it."""
RENDER_TAGS = {QUEUE_TAG: RENDER_QUEUE}
EMBED_TAGS = {QUEUE_TAG: EMBED_QUEUE}

_NEEDED_MODULES = ("celery", "redis", "dagster_celery", "dagster_postgres", "psycopg2")
_DEFAULT_VISIBILITY_S, _DEFAULT_LEASE_S, _DEFAULT_RUNS = 300, 120, 4


@dataclass(frozen=True)
class FleetSettings:
    """What the cluster profile needs to know. The addresses hold passwords: they are shown only by `where`."""

    postgres_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    visibility_timeout_s: int
    """After so long Redis gives the step of a worker that was lost to another one."""
    lease_s: int
    """A step whose worker has not said for so long that it lives is taken over."""
    runs: int
    """How many runs go on at once."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> FleetSettings:
        """Read the settings; raises `UserError` naming the variable that is missing or wrong, never its value."""
        missing = [name for name in _NEEDED_MODULES if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(
                f"{PROFILE_VARIABLE}=cluster needs the extra `cluster` ({', '.join(missing)} missing): "
                'pip install "aivj-assets[cluster]", or pip install -e ".[cluster]" in the checkout.'
            )
        lease_s = _seconds(environ, LEASE_VARIABLE, _DEFAULT_LEASE_S)
        visibility_s = _seconds(environ, VISIBILITY_VARIABLE, _DEFAULT_VISIBILITY_S)
        return cls(
            postgres_url=_postgres(environ),
            redis_url=_redis(environ),
            visibility_timeout_s=visibility_s,
            lease_s=lease_s,
            runs=_seconds(environ, RUNS_VARIABLE, _DEFAULT_RUNS, least=1, unit="number of runs", most=64),
        )


def is_cluster(environ: Mapping[str, str]) -> bool:
    """Whether the cluster profile is chosen; raises `UserError` for a profile that is none."""
    named = environ.get(PROFILE_VARIABLE, "").strip() or LOCAL
    if named not in PROFILES:
        raise UserError(f"{PROFILE_VARIABLE} is '{named}'; choose {' or '.join(PROFILES)}.")
    return named == CLUSTER


def where(url: str) -> str:
    """Return an address without its user and password: `host:port/name`."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.hostname or ''}{port}{parts.path.rstrip('/')}"


def _postgres(environ: Mapping[str, str]) -> str:
    example = "postgresql://user:password@host:5432/dagster"
    url, parts = _address(environ, POSTGRES_VARIABLE, ("postgresql",), example)
    if not parts.path.strip("/"):
        raise UserError(f"{POSTGRES_VARIABLE} names no database; write it as {example}.")
    return url


def _redis(environ: Mapping[str, str]) -> str:
    example = "redis://:password@host:6379/0"
    url, parts = _address(environ, REDIS_VARIABLE, ("redis", "rediss"), example)
    if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise UserError(f"{REDIS_VARIABLE}: after the host comes the number of a Redis database, as in {example}.")
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in parse_qs(parts.query):
        raise UserError(f"{REDIS_VARIABLE} begins with rediss: add ?ssl_cert_reqs=required to it.")
    return url


def _address(
    environ: Mapping[str, str], variable: str, schemes: tuple[str, ...], example: str
) -> tuple[str, SplitResult]:
    url = environ.get(variable, "").strip()
    if not url:
        raise UserError(f"{PROFILE_VARIABLE}=cluster needs {variable}, such as {example}.")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # Its text may hold the password.
        raise UserError(f"{variable} is no address; write it as {example}.") from None
    if parts.scheme not in schemes or not parts.hostname:
        raise UserError(f"{variable} is no address of the kind {schemes[0]}://; write it as {example}.")
    return url, parts


def _seconds(
    environ: Mapping[str, str],
    variable: str,
    default: int,
    *,
    least: int = 3,
    most: int = 86_400,
    unit: str = "number of seconds",
) -> int:
    text = environ.get(variable, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UserError(f"{variable} is '{text}'; give a {unit} from {least} to {most}.")
    return int(text)
