"""Several workers as processes of their own, one shared folder, and what must be the same after any fault."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from aivj_assets.layout import BatchKey, DataRoot, project_root
from aivj_assets_tests.integration.fleet.services import Postgres, Redis, until

# Small pictures and short warm-ups: what is tested is who renders, not what.
QUICK = {"width": 96, "height": 54, "outSize": 64, "warmupFrames": 8, "captureEvery": 8, "captureCount": 2}
PACK_SETTINGS = {"render": QUICK, "embedder": {"model": "efficientnet-lite0"}}
# Facts about when and where, not about what.
_VOLATILE = {
    "at", "generatedAt", "durationS", "duration_s", "runId", "run_id", "host", "since", "operationalParameters",
    "timings", "startedAt", "endedAt",
}  # fmt: skip
_READY_TIMEOUT_S = 120.0


def without_volatile(value: Any) -> Any:
    """Return a JSON value without times, durations and run ids."""
    if isinstance(value, dict):
        return {key: without_volatile(inner) for key, inner in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return [without_volatile(inner) for inner in value]
    return value


def artefacts(root: DataRoot, batch: BatchKey) -> dict[str, str]:
    """Return {file: digest} of all that a batch makes and a run of the same batch must make alike."""
    folder = root.batch(batch)
    found: dict[str, str] = {}
    for path in sorted(folder.frames_dir.rglob("*")):
        if path.is_file():
            found[path.relative_to(folder.path).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    for name in ("embeddings.npy", "ids.txt", "centroids.npy"):
        path = folder.path / name
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [json.loads(line) for line in folder.frames_index.read_text(encoding="utf-8").splitlines()]
    found["frames-index.jsonl"] = _digest([without_volatile(line) for line in lines])
    published = [path for path in root.published_files(batch.pack) if path.exists()]
    for path in [folder.path / "clusters.v0.json", *published]:
        found[path.name] = _digest(without_volatile(json.loads(path.read_text(encoding="utf-8"))))
    return found


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def index_ids(root: DataRoot, batch: BatchKey) -> list[str]:
    """Return the presets of the index in the order of its lines, doubles included."""
    text = root.batch(batch).frames_index.read_text(encoding="utf-8")
    return [json.loads(line)["presetId"] for line in text.splitlines()]


@dataclass
class WorkerProcess:
    """`aivj worker` with all that it started."""

    process: subprocess.Popen[str]
    log: Path
    prefix: Sequence[str] = ()

    def tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """End the worker, its Celery processes and browsers at once, as a power cut would."""
        for process in self.tree():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(20)

    def freeze(self) -> list[psutil.Process]:
        """Stop the worker and all it started; returns what was stopped."""
        frozen = self.tree()
        for process in frozen:
            try:
                process.suspend()
            except psutil.NoSuchProcess:
                continue
        return frozen

    @staticmethod
    def thaw(frozen: Sequence[psutil.Process]) -> None:
        for process in frozen:
            try:
                process.resume()
            except psutil.NoSuchProcess:
                continue

    def wait_ready(self) -> None:
        def ready() -> bool:
            text = self.log.read_text(encoding="utf-8", errors="replace")
            assert self.process.poll() is None, text
            return "Ready:" in text

        until(ready, f"worker {self.log.name}", _READY_TIMEOUT_S)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            time.sleep(1.5)
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Fleet:
    """A data root that several workers share, with its database and its broker."""

    root: DataRoot
    postgres: Postgres
    redis: Redis
    logs: Path
    visibility_s: int = 15
    lease_s: int = 12
    workers: list[WorkerProcess] = field(default_factory=list)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            **os.environ,
            "AIVJ_PROFILE": "cluster",
            "AIVJ_ROOT": str(self.root.path),
            "AIVJ_POSTGRES_URL": self.postgres.url,
            "AIVJ_REDIS_URL": self.redis.url,
            "AIVJ_VISIBILITY_TIMEOUT_S": str(self.visibility_s),
            "AIVJ_LEASE_S": str(self.lease_s),
            **(more or {}),
        }

    def start_worker(
        self,
        queues: str,
        *,
        concurrency: int = 1,
        more: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> WorkerProcess:
        log = self.logs / f"worker-{len(self.workers)}.log"
        command = [*prefix, *aivj("worker", "--queues", queues, "--concurrency", str(concurrency))]
        with log.open("ab") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=file, env=self.environment(more), cwd=project_root(), text=True,
                start_new_session=True,
            )  # fmt: skip
        worker = WorkerProcess(process, log, prefix)
        self.workers.append(worker)
        return worker

    def aivj(self, *arguments: str, timeout: float = 240, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            aivj(*arguments), capture_output=True, text=True, timeout=timeout, encoding="utf-8", check=False,
            env=self.environment(), cwd=project_root(),
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def start_run(self, batch: str, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            aivj("run", batch, *more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            encoding="utf-8", env=self.environment(), cwd=project_root(), start_new_session=True,
        )  # fmt: skip

    def rendered(self, batch: BatchKey) -> int:
        """How many presets the shards' logs and the index hold."""
        folder = self.root.batch(batch)
        logs = folder.shard_logs_dir.glob("*.jsonl") if folder.shard_logs_dir.is_dir() else []
        return sum(path.read_bytes().count(b"\n") for path in logs)

    def rendering_workers(self, run_ids: Sequence[str] | None = None) -> Iterator[int]:
        """Yield the pids that hold a lease of a shard."""
        for path in self.root.leases_dir.glob("*/frames_render_shard*.json"):
            try:
                state = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if not state["released"] and (run_ids is None or path.parent.name in run_ids):
                yield int(state["pid"])

    def worker_of(self, pid: int) -> WorkerProcess:
        return next(worker for worker in self.workers if pid in {process.pid for process in worker.tree()})

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()


def aivj(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "aivj_assets.cli", *arguments]
