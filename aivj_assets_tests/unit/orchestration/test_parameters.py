from typing import Any

import pytest
from dagster import Shape
from dagster._config import process_config

from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.orchestration.parameters import render_config_schema, render_parameters

# As the main job's issue lists them. presetDelayMs follows the page: see the test below.
LISTED: dict[str, Any] = {
    "manifest": None, "outDir": None, "resume": True, "headless": True, "timeMode": "fixedStep", "fixedStepFps": 30,
    "prewarm": True, "prewarmTimeoutMs": 90000, "warmupFrames": 60, "captureCount": 3, "captureEvery": 30,
    "timeoutMs": 30000, "refreshEvery": 100, "retryTimes": 2, "presetDelayMs": None, "width": 256, "height": 144,
    "outSize": 224, "format": "webp", "webpQuality": 0.92, "logEvery": 25, "audioSeed": 1, "stopAfterSec": 0.0,
}  # fmt: skip
OURS = {"audio", "bpm", "probeUrl", "renderer", "requireGpu", "retryFailed"}


def test_names_and_defaults_are_as_listed() -> None:
    schema = render_config_schema()
    assert set(schema) == set(LISTED) | OURS
    declared = {info.alias: info.default for info in RenderParameters.model_fields.values()}
    assert {name: declared[name] for name in LISTED} == LISTED
    # The launchpad tells the default, but does not fill it in: what is not given comes from the pack's settings.
    assert all(f"Default: {LISTED[name]}." in (schema[name].description or "") for name in LISTED)
    assert not any(field.is_required or field.default_provided for field in schema.values())


def test_the_defaults_are_a_valid_run_configuration() -> None:
    processed = process_config(Shape(render_config_schema()), {})
    assert processed.success
    assert processed.value is not None
    assert processed.value == {}
    parameters = render_parameters(processed.value)
    listed = {name: value for name, value in parameters.model_dump(by_alias=True).items() if name in LISTED}
    assert listed == LISTED | {"presetDelayMs": 0}
    app_page = {**processed.value, "probeUrl": "http://127.0.0.1:5174/preset-probe.html"}
    assert render_parameters(app_page).preset_delay_ms == 200


def test_choices_are_told_in_the_description() -> None:
    schema = render_config_schema()
    assert "One of: webp, png, jpeg." in (schema["format"].description or "")
    assert "One of: fixedStep, realtime." in (schema["timeMode"].description or "")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"captureCount": 0}, "captureCount: Input should be greater than or equal to 1"),
        ({"format": "gif"}, "format: "),
        ({"warmupFrames": "many"}, "warmupFrames: "),
        ({"webpQuality": float("nan")}, "webpQuality: "),
        ({"manifest": 7}, "manifest: "),
        ({"captureCount": 0, "captureEvery": 0}, r"\(and 1 more\)"),
        ({"warmupFrame": 90}, "there is no 'warmupFrame'; did you mean warmupFrames"),
        ({"capture-every": 90}, "did you mean captureEvery"),
        ({"zzz": 1}, "there is no 'zzz'; there are manifest, "),
    ],
)
def test_a_bad_value_is_one_line(config: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=f"^Rendering parameters: .*{says}") as raised:
        render_parameters(config)
    assert "\n" not in str(raised.value)


def test_both_spellings_are_read() -> None:
    assert render_parameters({"warmup_frames": 7}) == render_parameters({"warmupFrames": 7})


def test_parameters_travel_from_step_to_step() -> None:
    parameters = render_parameters({"warmupFrames": 7, "probeUrl": "http://127.0.0.1:5174/preset-probe.html"})
    assert render_parameters(parameters.model_dump(mode="json")) == parameters
