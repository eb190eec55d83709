"""Before a batch spends a night: what a run refuses in seconds, what it shows of it, and what the doctor says."""

from __future__ import annotations

import json

import dagster as dg
import pytest

from aivj_assets.contracts.checked_weights import CheckedWeightsFile
from aivj_assets.orchestration.guard import latest_materialization

pytestmark = pytest.mark.browser

NAMES = [
    "write access", "clock of the disk", "clock", "model", "browser", "WebGL", "render page", "disk",
]  # fmt: skip


def test_a_batch_shows_what_was_looked_at_before_it_was_rendered(finished) -> None:
    root = finished.cli.root
    with dg.DagsterInstance.from_config(str(root.dagster_home)) as instance:
        found = latest_materialization(instance, "frames", finished.key)
        assert found is not None
        table = str(found[1].metadata["preflight"].value)
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == NAMES
    verdicts = {row[0]: row[1] for row in rows[2:]}
    assert {verdicts[name] for name in NAMES if name not in ("WebGL", "disk")} == {"ok"}
    assert table.splitlines()[-1].startswith("in ")
    (checked,) = CheckedWeightsFile.load(root.checked_weights).entries
    assert (checked.model, checked.dim) == ("efficientnet-lite0", 1664)


def test_what_would_be_noticed_in_the_morning_is_one_line_at_once(fresh, presets_source, tmp_path) -> None:
    assert fresh("pack", "import", str(presets_source), "--pack", "one", "--limit", "1").returncode == 0
    weights = tmp_path / "downloaded.pt"
    weights.write_text("<html>please log in</html>")
    fresh.root.own_dir.write_text("in the way")
    address = "http://127.0.0.1:9/preset-probe.html"
    done = fresh(
        "run", "one", "--embedder", "ViT-B-32", "--pretrained", str(weights), "--set", f"probeUrl={address}"
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Failed: ")]
    assert line.startswith("Failed: Batch one was not started and nothing was changed. write access: ")
    assert ".aivj is a file where a folder should be" in line
    assert f"model: {weights} cannot be loaded as weights of OpenCLIP ViT-B-32" in line
    assert f"render page: The page at {address} offers no dumpPresetFrames" in line
    folder = fresh.batch("one")
    assert not folder.frames_dir.exists()
    assert not folder.frames_index.exists()
    assert not folder.shard_logs_dir.exists()


def test_the_doctor_shows_the_preflight_of_a_batch(copied) -> None:
    def doctor(*arguments: str) -> dict[str, dict[str, object]]:
        done = copied("doctor", *arguments, "--quick", "--json", "--embedder", "efficientnet-lite0")
        assert done.returncode == 0, done.stdout + done.stderr
        return {finding["name"]: finding for finding in json.loads(done.stdout)["preflight"]}

    of_batch = doctor("live")
    assert list(of_batch) == NAMES
    # The lineage has frozen the parameters of its first batch: what a run would take is what is there.
    assert of_batch["disk"]["detail"] == "nothing is left to be stored"
    assert str(copied.batch("live").path) in str(of_batch["write access"]["detail"])
    of_machine = doctor()
    assert [name for name in NAMES if name not in of_machine] == ["disk"]
    assert of_machine["model"]["passed"] is True
    unknown = copied("doctor", "nothing", "--quick")
    assert unknown.returncode == 2
    assert "There is no batch 'nothing'" in unknown.stderr
