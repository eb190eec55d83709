"""What the environment says of the night, right or wrong."""

import dagster as dg
import pytest

from aivj_assets.orchestration.night import Night
from aivj_assets.orchestration.schedules import nightly_rendering

CLOCK = {"AIVJ_TIMEZONE": "Europe/Berlin"}


def test_the_night_is_as_the_environment_says() -> None:
    given = {"AIVJ_NIGHT_CRON": "30 22 * * 1-5", "AIVJ_NIGHT_HOURS": "7.5", **CLOCK}
    assert Night.of(given) == Night("30 22 * * 1-5", 7.5, "Europe/Berlin")
    assert Night.of(CLOCK) == Night("0 1 * * *", 6.0, "Europe/Berlin")
    own = Night.of({})
    assert own.problem is None
    assert own.timezone


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AIVJ_NIGHT_CRON", "at one"), ("AIVJ_NIGHT_CRON", "0 25 * * *"), ("AIVJ_NIGHT_HOURS", "long"),
        ("AIVJ_NIGHT_HOURS", "0"), ("AIVJ_NIGHT_HOURS", "25"), ("AIVJ_NIGHT_HOURS", "nan"),
        ("AIVJ_TIMEZONE", "Berlin"), ("AIVJ_TIMEZONE", "../../etc/passwd"), ("AIVJ_TIMEZONE", "/etc/localtime"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_that_every_tick_tells(name: str, value: str) -> None:
    schedule = nightly_rendering({**CLOCK, name: value})
    assert schedule.description is not None
    assert schedule.description.startswith(f"{name} is '{value}'; give ")
    assert "\n" not in schedule.description
    with dg.build_schedule_context(resources={"data_root": None}) as context:
        told = schedule.evaluate_tick(context)
    assert told.skip_message == schedule.description


def test_it_is_off_by_default() -> None:
    assert nightly_rendering(CLOCK).default_status == dg.DefaultScheduleStatus.STOPPED
