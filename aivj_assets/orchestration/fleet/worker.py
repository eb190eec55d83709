"""`aivj worker`: Celery workers for some queues on this machine, and their end by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, project_root
from aivj_assets.orchestration.commands.ui import own_group, stop_tree
from aivj_assets.orchestration.fleet.broker import require_broker
from aivj_assets.orchestration.fleet.lease import host_name
from aivj_assets.orchestration.fleet.node import FINISH, GIVE_BACK, READY_LINE, pool_of
from aivj_assets.orchestration.fleet.settings import (
    PROFILE_VARIABLE,
    QUEUES,
    RENDER_QUEUE,
    RUNS_QUEUE,
    FleetSettings,
    is_cluster,
)
from aivj_assets.orchestration.instance import browser_limit, open_instance, prepare_home
from aivj_assets.render.machine import this_machine
from aivj_assets.render.probe import describe_renderer

_READY_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 30.0
_POLL_S = 0.5


@dataclass(frozen=True)
class NodePlan:
    """One Celery worker that is started."""

    name: str
    queues: tuple[str, ...]
    concurrency: int


def parse_queues(text: str) -> tuple[str, ...]:
    """Return the queues of `render,embed`; raises `UserError` for one that is none."""
    named = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    wrong = next((name for name in named if name not in QUEUES), None)
    if wrong is not None or not named:
        raise UserError(f"--queues {text}: choose from {', '.join(QUEUES)}, separated by commas.")
    return named


def node_plans(queues: Sequence[str], concurrency: int, runs: int, *, host: str, platform: str) -> list[NodePlan]:
    """Return the workers to start: for runs, which only wait for their steps, others than for steps.

    In one worker a run would keep the place that its own steps need. Where steps have no processes of their own
    (Windows), each place is a worker: two steps in one process would take each other's lease.
    """
    steps = tuple(name for name in queues if name != RUNS_QUEUE)
    wanted = [(steps, concurrency)] if steps else []
    if RUNS_QUEUE in queues:
        wanted.append(((RUNS_QUEUE,), runs))
    if pool_of(platform) != "prefork":
        wanted = [(named, 1) for named, places in wanted for _ in range(places)]
    return [NodePlan(f"{'-'.join(named)}-{uuid.uuid4().hex[:6]}@{host}", named, places) for named, places in wanted]


def serve_worker(console: Console, root: DataRoot, *, queues: str, concurrency: int | None) -> int:
    """Start workers, say when they are ready, wait for Ctrl-C and end them; returns the exit status.

    The first Ctrl-C ends them after the steps at work, the second gives those back to their queues.
    """
    if not is_cluster(os.environ):
        raise UserError(f"aivj worker is for the cluster profile: set {PROFILE_VARIABLE}=cluster (see the README).")
    named = parse_queues(queues)
    settings = FleetSettings.of(os.environ)
    require_broker(settings)
    with open_instance(root, os.environ):
        pass
    renderer = _renderer(console) if RENDER_QUEUE in named else None
    count = concurrency or (browser_limit(os.environ, os.cpu_count() or 1) if RENDER_QUEUE in named else 1)
    plans = node_plans(named, count, settings.runs, host=host_name(), platform=sys.platform)
    nodes = [_Node(plan, root, renderer) for plan in plans]
    try:
        return _serve(console, nodes)
    finally:
        for node in nodes:
            node.end()


def _renderer(console: Console) -> tuple[str, str]:
    console.print("Looking at this machine's renderer ...", highlight=False)
    report = describe_renderer(this_machine(os.environ), RenderParameters())
    console.print(f"Renderer: {report.renderer_class}: {report.page.renderer}", highlight=False, soft_wrap=True)
    return report.page.renderer, report.renderer_class


class _Node:
    """A worker's process."""

    def __init__(self, plan: NodePlan, root: DataRoot, renderer: tuple[str, str] | None) -> None:
        self.plan = plan
        self.log_path: Path = root.fleet_dir / "logs" / f"{plan.name}.log"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.ready = threading.Event()
        command = [
            sys.executable, "-m", "aivj_assets.orchestration.fleet.node", "--name", plan.name, "--queues",
            ",".join(plan.queues), "--concurrency", str(plan.concurrency),
        ]  # fmt: skip
        if renderer is not None and RENDER_QUEUE in plan.queues:
            command += ["--renderer", renderer[0], "--renderer-class", renderer[1]]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=project_root(), env=_environment(root), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, text=True, encoding="utf-8", **own_group(sys.platform),
            )  # fmt: skip
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with self.log_path.open("a", encoding="utf-8") as log:
            for line in self.process.stdout or ():
                if line.strip() == READY_LINE:
                    self.ready.set()
                else:
                    log.write(line)

    @property
    def sentence(self) -> str:
        plan = self.plan
        return f"Ready: {plan.name}: {', '.join(plan.queues)}, {plan.concurrency} at once   (log: {self.log_path})"

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def say(self, word: str) -> None:
        if self.alive and self.process.stdin is not None:
            try:
                self.process.stdin.write(f"{word}\n")
                self.process.stdin.flush()
            except OSError:
                return

    def end(self) -> None:
        if self.alive:
            self.say(GIVE_BACK)
            stop_tree(self.process, timeout_s=_END_TIMEOUT_S, interrupt=False)


def _environment(root: DataRoot) -> Mapping[str, str]:
    home = prepare_home(root, os.environ)
    return {**os.environ, "AIVJ_ROOT": str(root.path), "DAGSTER_HOME": str(home), "PYTHONUNBUFFERED": "1"}


def _serve(console: Console, nodes: Sequence[_Node]) -> int:
    previous = signal.signal(signal.SIGTERM, _interrupt)
    stops = 0
    deadline = time.monotonic() + _READY_TIMEOUT_S
    told = False
    try:
        while any(node.alive for node in nodes):
            try:
                gone = next((node for node in nodes if not node.alive), None)
                if gone is not None and not stops:
                    raise UserError(
                        f"The worker {gone.plan.name} ended with status {gone.process.returncode}; see {gone.log_path}."
                    )
                if not told and all(node.ready.is_set() for node in nodes):
                    told = True
                    for node in nodes:
                        console.print(node.sentence, highlight=False, soft_wrap=True)
                elif not told and time.monotonic() > deadline:
                    raise UserError(f"The worker did not start in {_READY_TIMEOUT_S:.0f} s; see {nodes[0].log_path}.")
                time.sleep(_POLL_S)
            except KeyboardInterrupt:
                stops += 1
                _stop(console, nodes, stops)
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _stop(console: Console, nodes: Sequence[_Node], stops: int) -> None:
    if stops == 1:
        text = "Ending after the steps at work; Ctrl-C again gives them back to their queues ..."
    else:
        text = "Giving the steps at work back ..."
    console.print(text, highlight=False, soft_wrap=True)
    for node in nodes:
        node.say(FINISH if stops == 1 else GIVE_BACK)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
