"""`aivj show` as a person starts and ends it."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from aivj_assets.layout import DataRoot
from aivj_assets.render.web_engine import WebEngine
from aivj_assets_tests.live_show_builders import publish_pack


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(root: DataRoot, pack: str, port: int) -> list[str]:
    arguments = ["show", pack, "--root", str(root.path), "--port", str(port), "--no-open"]
    return [sys.executable, "-m", "aivj_assets.cli", *arguments]


@pytest.mark.skipif(os.name == "nt", reason="a console's Ctrl-C cannot be sent to one process there")
def test_the_command_serves_until_ctrl_c_and_a_second_one_is_told_that_the_port_is_taken(
    tmp_path: Path, web_engine: WebEngine
) -> None:
    root, port = DataRoot(tmp_path), free_port()
    publish_pack(root, {"one": "{}"})
    environ = {**os.environ, "AIVJ_WEB_ENGINE_DIR": str(web_engine.root.parent), "COLUMNS": "300"}
    running = subprocess.Popen(
        command(root, "pack", port), env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert f"http://127.0.0.1:{port}/" in line
        assert str(root.shows_dir("pack")) in line
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/pack", timeout=20) as answer:
            assert answer.status == 200
        second = subprocess.run(
            command(root, "pack", port), env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode == 2
        assert f"Port {port}" in second.stderr
        assert "Traceback" not in second.stderr
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
        assert (running.returncode, out.strip(), err) == (0, "Ended.", "")
    finally:
        if running.poll() is None:
            running.kill()
            running.communicate()
