from typing import Any

import pytest
from dagster import Shape
from dagster._config import process_config

from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.definitions import build_definitions
from aivj_assets.errors import UserError
from aivj_assets.orchestration.parameters import render_config_schema
from aivj_assets.orchestration.run_config import batch_run_config


def config_of(**settings: Any) -> dict[str, Any]:
    return batch_run_config(PackSettings.model_validate(settings))


def test_without_settings_there_is_nothing_to_configure() -> None:
    assert config_of() == {}


def test_only_what_is_set_is_passed_on() -> None:
    assert config_of(
        render={"warmupFrames": 90, "format": "png"},
        embedder={"model": "ViT-L-14", "note": "asked for", "comment": "mine"},
        clusters={"k": 8, "reason": "fills my sheets"},
    ) == {
        "ops": {
            "frames": {"config": {"warmupFrames": 90, "format": "png"}},
            "clusters": {"config": {"k": 8, "reason": "fills my sheets"}},
        },
        "resources": {"embedder": {"config": {"model": "ViT-L-14", "note": "asked for"}}},
    }


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        ({"headless": "False"}, {"headless": False}),
        ({"timeoutMs": 45000.0}, {"timeoutMs": 45000}),
        ({"timeoutMs": "45000"}, {"timeoutMs": 45000}),
        ({"webpQuality": 1}, {"webpQuality": 1.0}),
        ({"warmup_frames": 90}, {"warmupFrames": 90}),
        ({"probeUrl": None}, {"probeUrl": None}),
        ({"presetDelayMs": 7}, {"presetDelayMs": 7}),
    ],
)
def test_values_reach_dagster_in_the_types_it_takes(given: dict[str, Any], passed_on: dict[str, Any]) -> None:
    config = config_of(render=given)["ops"]["frames"]["config"]
    assert config == passed_on
    assert [type(value) for value in config.values()] == [type(value) for value in passed_on.values()]
    assert process_config(Shape(render_config_schema()), config).success


@pytest.mark.parametrize("render", [{"captureCount": 0}, {"warmupFrame": 1}, {"timeoutMs": 45000.5}])
def test_a_bad_value_is_refused_before_a_run_exists(render: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^Rendering parameters: "):
        config_of(render=render)


def test_the_job_takes_the_configuration() -> None:
    job = build_definitions().resolve_job_def("batch_job")
    config = config_of(
        render={"warmupFrames": 90}, embedder={"model": "efficientnet-lite0"}, clusters={"k": 8, "seed": 2}
    )
    processed = process_config(job.run_config_schema.config_type, config)
    assert processed.success, processed.errors
