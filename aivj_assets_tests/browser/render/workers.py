"""Shards rendered in the test's own process or in a worker process of its own, which a test may kill."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.render import session as session_module
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.processes import is_alive, process_tree
from aivj_assets.render.resume import finish_index
from aivj_assets.render.shard import render_shard

QUICK = RenderParameters(warmup_frames=4, capture_every=3, capture_count=2, timeout_ms=20_000, retry_times=0)
WORKER = """
import pickle, sys
from pathlib import Path
from aivj_assets.render.shard import render_shard
if __name__ == "__main__":
    plans, environment = pickle.loads(Path(sys.argv[1]).read_bytes())
    for plan in plans:
        render_shard(plan, environment=environment, on_record=lambda record: print(record.preset_id, flush=True))
"""


def render(batch: Any, environment: RenderEnvironment, report: BrowserReport, parameters: RenderParameters) -> Any:
    """Render what is pending, finish the index, return its counts."""
    plan = batch.plan(parameters, report.page)
    for shard in plan.shards:
        render_shard(shard, environment=environment)
    return finish_index(batch.folder, batch.presets, plan.fingerprint)


def contents(batch: Any) -> dict[str, tuple[dict[str, Any], list[bytes]]]:
    """What a batch says of each preset but for the time of day: the index line and the bytes of the frames."""
    found = {}
    for preset_id, record in batch.records().items():
        line = record.to_json()
        del line["at"]
        found[preset_id] = (line, [(batch.folder.path / frame).read_bytes() for frame in line.get("frames", [])])
    return found


def browser_processes(ancestor: psutil.Process, kind: str | None = None) -> list[psutil.Process]:
    """The browsers that `ancestor` started: their main processes, or those of a kind (gpu-process, renderer)."""
    found = []
    for child in process_tree(ancestor):
        try:
            command = child.cmdline()
        except psutil.Error:
            continue
        own = any(part.startswith("--aivj-session=") for part in command)
        types = [part for part in command if part.startswith("--type=")]
        if (own and not types) if kind is None else f"--type={kind}" in types:
            found.append(child)
    return found


class Worker:
    """Shards in a process of its own, with a temporary folder of its own so that leftovers show."""

    def __init__(self, environment: RenderEnvironment, plans: Sequence[Any]) -> None:
        # Chromium puts a socket there, whose path may have 107 characters at most.
        self.temp = Path(tempfile.mkdtemp(prefix="aivj-"))
        self._scripts = Path(tempfile.mkdtemp(prefix="aivj-"))
        (self._scripts / "worker.py").write_text(WORKER, encoding="utf-8")
        (self._scripts / "plans.pickle").write_bytes(pickle.dumps((list(plans), environment)))
        names = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self.temp))
        source = str(Path(session_module.__file__).parents[2])
        self.process = subprocess.Popen(
            [sys.executable, str(self._scripts / "worker.py"), str(self._scripts / "plans.pickle")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **names, "PYTHONPATH": source},
            start_new_session=True,
        )

    def wait_for_records(self, count: int) -> list[str]:
        """Wait for so many further records and return their presets' ids."""
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline() for _ in range(count)]
        assert all(lines), self.process.communicate()[1]
        return [line.strip() for line in lines]

    def finish(self) -> list[str]:
        """Wait for the worker's end and return the ids that it told since."""
        told, errors = self.process.communicate(timeout=240)
        assert self.process.returncode == 0, errors
        return told.split()

    def leftovers(self, *, folders: bool = True) -> list[str]:
        """Processes of ours that live, and profiles that lie about."""
        found = [path.name for path in self.temp.iterdir()] if folders else []
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.temp) in part for part in process.info["cmdline"] or []) and is_alive(process):
                found.append(" ".join(process.info["cmdline"][:3]))
        return found

    def wait_for_tidiness(self, *, folders: bool = True) -> None:
        deadline = time.monotonic() + 45
        while (found := self.leftovers(folders=folders)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert found == []

    def end(self) -> None:
        """Kill it, whatever it does, and remove its folders."""
        self.process.kill()
        self.process.communicate()
        for folder in (self.temp, self._scripts):
            shutil.rmtree(folder, ignore_errors=True)
