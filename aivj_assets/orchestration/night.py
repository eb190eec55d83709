"""When the night's rendering begins and how long it may take, from the environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import tzlocal
from dagster._utils.schedules import is_valid_cron_schedule

CRON_VARIABLE, HOURS_VARIABLE, TIMEZONE_VARIABLE = "AIVJ_NIGHT_CRON", "AIVJ_NIGHT_HOURS", "AIVJ_TIMEZONE"


@dataclass(frozen=True)
class Night:
    """When the night begins, how many hours it has, and what is wrong with the variables that say so."""

    cron: str = "0 1 * * *"
    hours: float = 6.0
    timezone: str = "UTC"
    problem: str | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Night:
        """Read the three variables; a wrong one leaves its default and is told in `problem`, one line."""
        given = {name: environ.get(name, "").strip() for name in (CRON_VARIABLE, HOURS_VARIABLE, TIMEZONE_VARIABLE)}
        cron = given[CRON_VARIABLE] or cls.cron
        hours = _hours(given[HOURS_VARIABLE]) if given[HOURS_VARIABLE] else cls.hours
        timezone = given[TIMEZONE_VARIABLE] or _own_timezone()
        problems = []
        if not is_valid_cron_schedule(cron):
            problems.append(f"{CRON_VARIABLE} is '{cron}'; give minute, hour, day, month and weekday, e.g. '0 1 * * *'")
        if hours is None:
            problems.append(f"{HOURS_VARIABLE} is '{given[HOURS_VARIABLE]}'; give hours above 0 and up to 24")
        if not _is_timezone(timezone):
            problems.append(f"{TIMEZONE_VARIABLE} is '{timezone}'; give a name such as Europe/Berlin")
        if problems:
            return cls(problem=f"{'; '.join(problems)}. Nothing is rendered at night until then.")
        return cls(cron, hours or cls.hours, timezone)


def _hours(text: str) -> float | None:
    try:
        hours = float(text)
    except ValueError:
        return None
    return hours if math.isfinite(hours) and 0 < hours <= 24 else None


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _own_timezone() -> str:
    """Return the IANA name of the machine's time zone, UTC where it has none."""
    try:
        name = tzlocal.get_localzone_name()
    except (KeyError, ValueError, OSError):
        return Night.timezone
    return name if name and _is_timezone(name) else Night.timezone
