import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aivj_assets.cli import app as cli
from aivj_assets.cli.run import parse_settings
from aivj_assets.cli.terminal import EXIT_FAILED
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.commands import batch as commands
from aivj_assets.orchestration.commands import doctor
from aivj_assets.render import machine
from aivj_assets_tests.builders import seed_storage, write_batch, write_manifest


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Commands set it for the steps of their runs; what a test leaves is taken back.
    monkeypatch.setenv("AIVJ_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def root(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    made = DataRoot(tmp_path)
    seed_storage(made, tmp_path_factory)
    return made


@pytest.mark.parametrize(
    ("pair", "setting"),
    [
        ("warmupFrames=90", {"warmupFrames": 90}),
        ("webpQuality=0.5", {"webpQuality": 0.5}),
        ("resume=false", {"resume": False}),
        ("resume=False", {"resume": "False"}),
        ("format=png", {"format": "png"}),
        ("probeUrl=http://127.0.0.1:5174/p.html?a=1", {"probeUrl": "http://127.0.0.1:5174/p.html?a=1"}),
        ("probeUrl=null", {"probeUrl": None}),
        ("outDir=", {"outDir": ""}),
    ],
)
def test_settings_are_json_where_they_parse_as_such(pair: str, setting: dict[str, Any]) -> None:
    assert parse_settings([pair]) == setting


def test_the_last_of_two_settings_counts() -> None:
    assert parse_settings(["timeoutMs=1", "width=2", "timeoutMs=3"]) == {"timeoutMs": 3, "width": 2}
    assert parse_settings([]) == {}


@pytest.mark.parametrize("pair", ["warmupFrames", "=90", "", "warmupFrames:90"])
def test_a_setting_without_a_name_or_value_is_refused(pair: str) -> None:
    with pytest.raises(UserError, match="write it as name=value"):
        parse_settings([pair])


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command as a shell would; returns status, output and error output."""
    monkeypatch.setattr(sys, "argv", ["aivj", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gates"], "No batch under"),
        (["gates", "nosuch"], "No batch 'nosuch' under"),
        (["run", "nosuch"], "There is no batch 'nosuch'"),
        (["run", "../x"], "'../x' is no batch"),
        (["run", "nosuch", "--set", "warmupFrames"], "write it as name=value"),
        (["publish", "a b"], "'a b' cannot name a pack"),
        (["verify", "nosuch"], "There is no batch 'nosuch'"),
        (["verify", "../x"], "'../x' is no batch"),
        (["doctor", "--quick", "--apply"], "give one of the two"),
    ],
)
def test_a_user_s_mistake_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    status, out, err = said(monkeypatch, capsys, *arguments)
    assert status == cli.EXIT_USER == 2
    assert err.startswith("Error: ")
    assert says in err
    assert err.count("\n") == 1
    assert "Traceback" not in err + out
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "pack", "--only", "pictures"], "'pictures' is no asset of a batch; choose from presets, frames"),
        (["run", "pack", "--set", "captureCount=0"], "Rendering parameters: captureCount"),
        (["run", "pack", "--set", "warmupFrame=9"], "did you mean warmupFrames?"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], says: str
) -> None:
    write_manifest(DataRoot(tmp_path), "pack", ["a"])
    status, _, err = said(monkeypatch, capsys, *arguments)
    assert (status, err.count("\n")) == (2, 1)
    assert says in err
    assert not (tmp_path / ".dagster").exists()


def test_letters_that_the_output_lacks_are_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows writes pipes and files in its code page."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="cp1252") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(sys, "argv", ["aivj", "gates", "日本"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    err.seek(0)
    assert ended.value.code == cli.EXIT_USER
    assert err.read().startswith("Error: No batch '??' ")


def test_ctrl_c_is_status_130_and_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    status, _, err = said(monkeypatch, capsys, "run", "x")
    assert (status, err.count("\n")) == (130, 1)
    assert "What is done is kept" in err


def test_ctrl_c_in_a_command_that_makes_nothing_promises_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_arguments: object, **_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "doctor_and_report", interrupted)
    status, out, err = said(monkeypatch, capsys, "doctor")
    assert (status, out, err) == (130, "", "Stopped. Nothing was changed.\n")


@pytest.mark.parametrize(
    ("arguments", "render"),
    [
        ([], {}),
        (["--retry-failed"], {"retryFailed": True}),
        (["--set", "retryFailed=false", "--retry-failed"], {"retryFailed": True}),
        (["--set", "warmupFrames=9", "--retry-failed"], {"warmupFrames": 9, "retryFailed": True}),
    ],
)
def test_retrying_failed_presets_is_a_rendering_parameter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], render: dict[str, Any]
) -> None:
    asked: list[dict[str, Any]] = []

    def run(_console: object, _root: object, _batch: object, options: commands.BatchOptions) -> int:
        asked.append(options.render)
        return 0

    monkeypatch.setattr(commands, "run_and_report", run)
    assert said(monkeypatch, capsys, "run", "pack", *arguments)[0] == 0
    assert asked == [render]


def test_a_batch_that_was_not_rendered_cannot_be_verified(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_manifest(DataRoot(tmp_path), "pack", ["a"])
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(machine, "this_machine", lambda _environ: None)
    status, out, err = said(monkeypatch, capsys, "verify", "pack")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "has not been rendered to its end" in err
    assert sorted(tmp_path.rglob("*")) == before


def gates(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["gates", *arguments], catch_exceptions=False)
    return result.exit_code, result.output


def test_gates_as_json_tell_values_and_why_a_batch_is_not_accepted(root: DataRoot) -> None:
    write_batch(root, "pack")
    write_manifest(root, "new", ["a"])
    torn = root.manifest(BatchKey("torn"))
    torn.parent.mkdir()
    torn.write_bytes(b"{")
    status, output = gates("--json")
    assert status == EXIT_FAILED
    listing = {row["batch"]: row for row in json.loads(output)}
    assert list(listing) == ["new", "pack", "torn"]
    assert not any(row["accepted"] for row in listing.values())
    # Files alone make no accepted batch: Dagster has no record of them.
    assert listing["pack"]["problem"].startswith("'presets': it is not materialised")
    assert [(line["gate"], line["passed"]) for line in listing["pack"]["gates"]] == [
        ("ok_rate", True), ("top_same", True), ("luma_range", True), ("motion_range", True),
    ]  # fmt: skip
    assert "is not JSON" in listing["torn"]["problem"]


def test_gates_of_one_pack(root: DataRoot) -> None:
    for key in ("big/batch-0001", "big/batch-0002", "pack"):
        write_manifest(root, key, ["a"])
    _, output = gates("big", "--json")
    assert [row["batch"] for row in json.loads(output)] == ["big/batch-0001", "big/batch-0002"]
    _, output = gates("big/batch-0002", "--json")
    assert [row["batch"] for row in json.loads(output)] == ["big/batch-0002"]


def test_the_root_option_reaches_the_processes_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path / "elsewhere"
    seed_storage(DataRoot(place), tmp_path_factory)
    write_manifest(DataRoot(place), "pack", ["a"])
    monkeypatch.chdir(tmp_path)
    _, output = gates("--json", "--root", "elsewhere")
    assert [row["batch"] for row in json.loads(output)] == ["pack"]
    assert os.environ["AIVJ_ROOT"] == str(place.resolve())
    assert (place / ".dagster" / "dagster.yaml").is_file()
