"""`aivj verify`: a batch as it was rendered, one that somebody damaged, one of another machine, Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageOps

from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.frames_meta import FramesMeta

pytestmark = pytest.mark.browser


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ok_records(cli, batch: str) -> list[OkRecord]:
    records = read_records(cli.batch(batch).frames_index).values()
    return [record for record in records if isinstance(record, OkRecord)]


def test_a_batch_is_as_stored_and_verifying_touches_nothing(finished) -> None:
    before = digests(finished.cli.batch(finished.key).path)
    done = finished.cli("verify", finished.key, "--sample", "6", "--seed", "3", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["equal"], told["differences"], told["seed"]) == (True, [], 3)
    assert len(told["checked"]) == 6
    assert (told["presets"], told["comparable"]) == (24, 24)
    assert digests(finished.cli.batch(finished.key).path) == before


def test_damaged_frames_and_changed_presets_are_named(copied) -> None:
    folder = copied.batch("live")
    inverted, missing, changed, *_ = ok_records(copied, "live")
    picture = folder.path / inverted.frames[1]
    with Image.open(picture) as image:
        ImageOps.invert(image.convert("RGB")).save(picture, quality=92)
    (folder.path / missing.frames[0]).unlink()
    preset = copied.root.preset_file(changed.rel_path)
    preset.write_text(preset.read_text(encoding="utf-8") + " \n", encoding="utf-8")
    done = copied("verify", "live", "--workers", "2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert "frame-001.webp differs by " in told[inverted.preset_id]
    assert told[missing.preset_id] == "frame-000.webp missing as stored"
    assert "the preset file has changed since" in told[changed.preset_id]
    assert told["Batch live"].startswith("21 of 24 presets are as stored")
    assert len(told) == 4


def test_frames_of_another_renderer_are_not_compared(copied) -> None:
    path = copied.batch("live").frames_meta
    meta = FramesMeta.load(path)
    meta.pixel_parameters["renderer"] = "ANGLE (NVIDIA, GeForce RTX 4090)"
    meta.save(path)
    done = copied("verify", "live")
    assert done.returncode == 2
    assert "renderer 'ANGLE (NVIDIA, GeForce RTX 4090)' there, '" in done.stderr
    assert done.stderr.count("Error: ") == 1
    assert "Traceback" not in done.stdout + done.stderr


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX; Windows sends console events")
def test_ctrl_c_ends_the_browsers_too(finished, wait_for) -> None:
    process = finished.cli.start("verify", finished.key)
    tree: list[psutil.Process] = []

    def renders() -> bool:
        """Whether a worker has its browser."""
        assert process.poll() is None, process.communicate()[0]
        tree[:] = psutil.Process(process.pid).children(recursive=True)
        workers = {child.pid for child in tree if "spawn_main" in command_line(child)}
        browsers = [child for child in tree if "--aivj-session" in command_line(child)]
        return any(parent.pid in workers for browser in browsers for parent in browser.parents())

    wait_for(renders, 60)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert output.splitlines()[-1] == "Stopped. Nothing was changed."
    assert "Traceback" not in output
    wait_for(lambda: not any(map(is_alive, tree)), 20)
