"""Profiles and the variables of the cluster profile: what is wrong is one line without a password."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import yaml
from dagster._serdes import ConfigurableClass

from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.fleet import settings as fleet_settings
from aivj_assets.orchestration.fleet.instance_config import cluster_config
from aivj_assets.orchestration.fleet.node import celery_arguments, pool_of
from aivj_assets.orchestration.fleet.settings import FleetSettings, is_cluster, where
from aivj_assets.orchestration.fleet.worker import node_plans, parse_queues
from aivj_assets.orchestration.instance import prepare_home

GOOD = {
    "AIVJ_PROFILE": "cluster",
    "AIVJ_POSTGRES_URL": "postgresql://aivj:hush@db:5432/dagster",
    "AIVJ_REDIS_URL": "redis://:hush@broker:6379/0",
}


@pytest.fixture(autouse=True)
def with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings are read alike where the extra is not installed."""
    monkeypatch.setattr(fleet_settings, "_NEEDED_MODULES", ())


@pytest.mark.parametrize(("value", "cluster"), [("", False), ("local", False), ("cluster", True)])
def test_the_profile_is_local_unless_said_otherwise(value: str, cluster: bool) -> None:
    assert is_cluster({"AIVJ_PROFILE": value}) is cluster


def test_a_profile_that_is_none_is_one_line() -> None:
    with pytest.raises(UserError, match=r"AIVJ_PROFILE is 'cloud'; choose local or cluster\."):
        is_cluster({"AIVJ_PROFILE": "cloud"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"AIVJ_POSTGRES_URL": ""}, "needs AIVJ_POSTGRES_URL, such as postgresql://"),
        ({"AIVJ_REDIS_URL": ""}, "needs AIVJ_REDIS_URL, such as redis://"),
        ({"AIVJ_POSTGRES_URL": "mysql://aivj:hush@db/dagster"}, "AIVJ_POSTGRES_URL is no address of the kind"),
        ({"AIVJ_POSTGRES_URL": "postgresql://aivj:hush@db:5432"}, "names no database"),
        ({"AIVJ_POSTGRES_URL": "postgresql://aivj:hush@db:five/x"}, "AIVJ_POSTGRES_URL is no address"),
        ({"AIVJ_REDIS_URL": "http://:hush@broker"}, "AIVJ_REDIS_URL is no address of the kind"),
        ({"AIVJ_REDIS_URL": "redis://:hush@broker/zero"}, "the number of a Redis database"),
        ({"AIVJ_REDIS_URL": "rediss://:hush@broker/0"}, "ssl_cert_reqs"),
        ({"AIVJ_LEASE_S": "soon"}, "AIVJ_LEASE_S is 'soon'"),
        ({"AIVJ_VISIBILITY_TIMEOUT_S": "1"}, "AIVJ_VISIBILITY_TIMEOUT_S is '1'"),
    ],
)
def test_a_variable_that_is_missing_or_wrong_is_one_line_without_the_password(
    change: dict[str, str], told: str
) -> None:
    with pytest.raises(UserError) as raised:
        FleetSettings.of({**GOOD, **change})
    text = str(raised.value)
    assert told in text
    assert "\n" not in text
    assert "hush" not in text


def test_a_missing_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_settings, "_NEEDED_MODULES", ("no_such_module",))
    with pytest.raises(UserError, match=r"pip install .*aivj-assets\[cluster\]"):
        FleetSettings.of(GOOD)


def test_settings_are_shown_without_addresses() -> None:
    settings = FleetSettings.of(GOOD)
    assert "hush" not in repr(settings)
    assert where(settings.postgres_url) == "db:5432/dagster"


def test_the_instance_of_the_cluster_profile_holds_no_address(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    home = prepare_home(root, GOOD)
    text = (home / "dagster.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    assert home == root.dagster_home / "cluster"
    assert config["storage"]["custom"]["config"] == {"postgres_url": {"env": "AIVJ_POSTGRES_URL"}}
    assert config["run_launcher"]["class"] == "FleetRunLauncher"
    assert "hush" not in text
    # Gates are not tried again here either.
    assert config["run_retries"]["retry_on_asset_or_op_failure"] is False


def test_the_local_profile_is_as_it_was(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    home = prepare_home(root, {})
    config = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8"))
    assert home == root.dagster_home
    assert "sqlite" in config["storage"]
    assert "run_launcher" not in config
    assert "AIVJ" not in json.dumps(config)


@pytest.mark.parametrize(("platform", "pool"), [("win32", "threads"), ("linux", "prefork"), ("darwin", "prefork")])
def test_a_worker_takes_the_pool_that_works_on_its_system(platform: str, pool: str) -> None:
    assert pool_of(platform) == pool
    arguments = celery_arguments("render-1@host", "render", 2, platform)
    assert arguments[arguments.index("--pool") + 1] == pool


def test_runs_have_a_worker_of_their_own() -> None:
    steps, runs = node_plans(("render", "runs", "default"), 2, 4, host="host", platform="linux")
    assert (steps.queues, steps.concurrency) == (("render", "default"), 2)
    assert (runs.queues, runs.concurrency) == (("runs",), 4)


def test_on_windows_each_place_is_a_worker() -> None:
    plans = node_plans(("render", "runs"), 2, 1, host="host", platform="win32")
    assert [(plan.queues, plan.concurrency) for plan in plans] == [(("render",), 1)] * 2 + [(("runs",), 1)]
    assert len({plan.name for plan in plans}) == 3


def test_a_queue_that_is_none_is_one_line() -> None:
    assert parse_queues("render, embed,render") == ("render", "embed")
    with pytest.raises(UserError, match="choose from render, embed, default, runs"):
        parse_queues("render,gpu")
    with pytest.raises(UserError, match="choose from"):
        parse_queues(" , ")


def test_dagster_can_load_all_that_the_instance_of_the_cluster_profile_names() -> None:
    pytest.importorskip("dagster_celery", reason="the extra `cluster` is not installed")
    config = cluster_config({}, FleetSettings.of(GOOD))
    for part in (config["storage"]["custom"], config["run_launcher"]):
        assert issubclass(getattr(importlib.import_module(part["module"]), part["class"]), ConfigurableClass)
