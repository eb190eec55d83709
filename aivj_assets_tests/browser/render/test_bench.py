"""The benchmark commands as a user calls them, over a few real presets."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.render.bench.choose import BenchPreset
from aivj_assets.render.bench.soak import bench_soak
from aivj_assets.render.environment import RenderEnvironment

pytestmark = [pytest.mark.browser, pytest.mark.alone]

MILK = (
    "[preset00]\nfDecay=0.98\nnWaveMode={mode}\nzoom=1.0{mode}\nwave_r=0.{mode}\nper_frame_1=rot=0.0{mode}*sin(time);\n"
)
WARP = "warp_1=`shader_body\nwarp_2=`{{\nwarp_3=`ret = {value};\nwarp_4=`}}\n"
V2 = "MILKDROP_PRESET_VERSION=201\nPSVERSION=2\nPSVERSION_WARP=2\nPSVERSION_COMP=2\n"


def bench(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aivj_assets.cli", "bench", *arguments]
    environ = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=200, check=False, env=environ, **more
    )


@pytest.fixture
def milk_presets(tmp_path: Path) -> Path:
    """Six .milk presets: three plain ones, one with a shader, one whose shader is none, one that is binary."""
    folder = tmp_path / "milk"
    folder.mkdir()
    texts = {f"plain {mode}": MILK.format(mode=mode) for mode in (2, 3, 4)}
    texts["good shader"] = V2 + MILK.format(mode=5) + WARP.format(value="tex2D(sampler_main, uv).xyz * 0.9")
    texts["bad shader"] = V2 + MILK.format(mode=6) + WARP.format(value="no_such_function(uv)")
    for name, text in texts.items():
        (folder / f"{name}.milk").write_text(text, encoding="utf-8")
    (folder / "binary.milk").write_bytes(b"[preset00]\nwarp_1=`\n\0\0")
    return folder


def test_render_compares_both_loops_on_the_same_presets(
    milk_presets: Path, render_environment: RenderEnvironment, tmp_path: Path
) -> None:
    for name in ("binary", "bad shader"):
        (milk_presets / f"{name}.milk").unlink()
    done = bench(
        "render", "--presets", "4", "--block", "2", "--source", str(milk_presets), "--json", str(tmp_path / "x.json"),
        "--out", str(tmp_path / "out"), "--workers", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert (told["ours"]["ok"], told["plain"]["ok"]) == (4, 4), told["failures"]
    kinds = {preset["id"]: preset["kind"] for preset in told["presets"]}
    assert sorted(kinds.values()) == ["json", "json", "milk", "milk-shaders"]

    ours = list((tmp_path / "out" / "ours").rglob("frame-*.webp"))
    plain = {path.parent.name for path in (tmp_path / "out" / "plain").rglob("frame-*.webp")}
    assert len(ours) == told["ours"]["captures"] == told["plain"]["captures"] == 12
    assert plain == set(kinds)
    for path in (*ours, *(tmp_path / "out" / "plain").rglob("frame-*.webp")):
        with Image.open(path) as image:
            assert (image.format, image.size) == ("WEBP", (224, 224))

    assert "SwiftShader" in told["plain"]["renderer"]
    assert told["ratio"] == pytest.approx(told["ours"]["presets_per_s"] / told["plain"]["presets_per_s"])
    for loop in (told["ours"], told["plain"]):
        assert loop["presets_per_s"] == pytest.approx(4 / loop["wall_s"])
        assert loop["peak_rss_bytes"] > 100_000_000
        assert all(loop["cpu_s_per_preset"][role] > 0 for role in ("gpu", "page", "browser", "driver", "worker"))
    split = told["split"]
    assert all(
        split[part] > 0 for part in ("load_ms", "js_ms", "gl_ms", "readback_ms", "encode_ms", "write_ms", "idle_ms")
    )
    parts = sum(value for name, value in split.items() if name not in ("wall_ms", "idle_of_which"))
    assert parts == pytest.approx(split["wall_ms"])
    assert split["wall_ms"] == pytest.approx(1000 * told["ours"]["wall_s"] * 2 / 4)
    assert all(value > 0 for value in split["idle_of_which"].values())
    assert re.search(r"presets a second +│ +[\d.]+ │ +[\d.]+ │", done.stdout)


def test_library_tells_every_failure_and_goes_on_where_it_stopped(milk_presets: Path, tmp_path: Path) -> None:
    arguments = [
        "library",
        str(milk_presets),
        "--fast",
        "--out",
        str(tmp_path / "out"),
        "--json",
        str(tmp_path / "x.json"),
    ]
    done = bench(*arguments, "--sheet", str(tmp_path / "sheet.png"))
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert told["all"] == {"presets": 6, "ok": 4, "failed": 2}
    assert told["with_pixel_shaders"] == {"presets": 3, "ok": 1, "failed": 2}
    assert told["failure_reasons"] == {"shader-compile-failed": 1, "binary-nul": 1}
    by_file = {Path(failure["rel_path"]).stem.partition("-")[0]: failure for failure in told["failures"]}
    assert by_file.keys() == {"bad", "binary"}
    assert by_file["bad"]["error_text"]
    assert "shader-compile-failed" in done.stdout
    assert told["rendered"] == told["convert_ms"]["n"] == 5
    assert 0 < told["convert_ms"]["mean"] <= told["convert_ms"]["max"]
    assert [target["reached"] for target in told["targets"]][:2] == [False, False]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 4 * 160

    again = bench(*arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    second = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert second["rendered"] == 0
    for figure in ("all", "failures", "flags", "convert_ms"):
        assert second[figure] == told[figure]


def test_soak_renders_the_first_presets_again(
    milk_presets: Path, render_environment: RenderEnvironment, tmp_path: Path
) -> None:
    presets = [BenchPreset(f"p{mode}", milk_presets / f"plain {mode}.milk", "milk") for mode in (2, 3, 4)]
    seen: list[tuple[int, int]] = []
    result = bench_soak(
        presets,
        repeat=1,
        environment=render_environment,
        parameters=RenderParameters(warmup_frames=4, capture_every=4),
        seed=1,
        workers=1,
        out_dir=tmp_path,
        progress=lambda done, failed: seen.append((done, failed)),
    )
    assert [(phase.name, phase.ok, phase.failed) for phase in result.phases] == [
        ("first", 1, 0),
        ("middle", 2, 0),
        ("again", 1, 0),
    ]
    assert result.differing == []
    assert all(phase.cpu_s["gpu"] > 0 and phase.cpu_s["worker"] > 0 for phase in result.phases)
    assert result.cpu_difference_fraction is not None
    assert result.memory["total"].peak_bytes > 100_000_000
    assert result.memory["gpu"].peak_bytes > 0
    assert len(result.series) >= 4
    assert seen[-1] == (4, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_ctrl_c_prints_what_was_measured_and_leaves_no_process(real_presets: list[Path], tmp_path: Path) -> None:
    source = real_presets[0].parent
    command = [sys.executable, "-m", "aivj_assets.cli", "bench", "render", "--presets", "60", "--source", str(source)]
    command += ["--block", "60", "--json", str(tmp_path / "x.json"), "--out", str(tmp_path / "out"), "--workers", "1"]
    # A terminal sends Ctrl-C to the whole group.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True) as run:
        logs = tmp_path / "out" / "ours" / "artifacts" / "aivj" / "bench" / "frames-shards"
        deadline = time.monotonic() + 100
        while not any(path.stat().st_size for path in logs.glob("*.jsonl")):
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        started = psutil.Process(run.pid).children(recursive=True)
        os.killpg(run.pid, signal.SIGINT)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Interrupted" in output
    told = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert told["interrupted"] is True
    assert 1 <= told["ours"]["ok"] + told["ours"]["failed"] < 60
    assert (told["plain"]["presets"], told["ratio"]) == (0, None)
    psutil.wait_procs(started, timeout=10)
    assert [process for process in started if process.is_running() and process.status() != "zombie"] == []
