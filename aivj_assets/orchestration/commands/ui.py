"""`aivj ui`: Dagster's web UI and daemon for one data root, on 127.0.0.1 only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from rich.console import Console

from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, project_root, start_new_log
from aivj_assets.orchestration.automation import AUTOMATION_SENSOR, automation_is_on
from aivj_assets.orchestration.fleet.broker import require_broker
from aivj_assets.orchestration.fleet.settings import FleetSettings, is_cluster
from aivj_assets.orchestration.instance import open_instance, prepare_home, report_dead_runs
from aivj_assets.orchestration.night import Night
from aivj_assets.orchestration.page_server import PAGES_URL_VARIABLE, served_pages
from aivj_assets.orchestration.resources import EMBEDDER_VARIABLE, PRETRAINED_VARIABLE

HOST = "127.0.0.1"
LOCATION = "aivj_assets.definitions"
JOB, DECLARATIVE = AUTOMATION_MODES = ("job", "declarative")
DEFAULT_PORT = 3000
UI_URL_VARIABLE = "AIVJ_UI_URL"
"""Set by `aivj ui` for the runs that it starts: where pages link to."""
_READY_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 45.0


def default_ui_url() -> str:
    """Return where the UI is when nobody chose a port."""
    return f"http://{HOST}:{DEFAULT_PORT}"


def serve_ui(
    console: Console,
    root: DataRoot,
    *,
    port: int,
    embedder: str | None,
    pretrained: str | None,
    automation: str | None = None,
) -> int:
    """Start the UI and the daemon, say when they are ready, wait for Ctrl-C and stop both; returns the exit status.

    `automation` chooses what follows a batch's frames, one of `AUTOMATION_MODES`; None leaves it as it is.
    """
    if automation is not None and automation not in AUTOMATION_MODES:
        raise UserError(f"--automation {automation}: choose {' or '.join(AUTOMATION_MODES)}.")
    _require_free_port(port)
    home = prepare_home(root, os.environ)
    if is_cluster(os.environ):
        require_broker(FleetSettings.of(os.environ))
    only_one = FileLock(root.dagster_home / "ui.lock", timeout=0)
    try:
        only_one.acquire()
    except Timeout:
        raise UserError(f"A UI for {root.path} runs already; use it, or end it first.") from None
    try:
        with served_pages(root, port + 1) as pages:
            if pages is None:
                text = f"Port {port + 1} is taken: the UI's links to pages lead nowhere."
                console.print(text, highlight=False, soft_wrap=True)
            return _serve(
                console, root, home, port=port, embedder=embedder, pretrained=pretrained, automation=automation,
                pages=pages,
            )  # fmt: skip
    finally:
        only_one.release()


def _serve(
    console: Console,
    root: DataRoot,
    home: Path,
    *,
    port: int,
    embedder: str | None,
    pretrained: str | None,
    automation: str | None,
    pages: str | None,
) -> int:
    _sweep(root)
    log_path = root.dagster_home / "ui.log"
    start_new_log(log_path)
    environ = {
        **os.environ,
        "AIVJ_ROOT": str(root.path),
        "DAGSTER_HOME": str(home),
        UI_URL_VARIABLE: f"http://{HOST}:{port}",
        **({PAGES_URL_VARIABLE: pages} if pages else {}),
        **({EMBEDDER_VARIABLE: embedder} if embedder else {}),
        **({PRETRAINED_VARIABLE: pretrained} if pretrained else {}),
    }
    location = ["-m", LOCATION, "--working-directory", str(project_root())]
    command = [sys.executable, "-m", "dagster", "dev", *location, "-h", HOST, "-p", str(port)]
    if automation is not None:
        _switch_automation(automation, location, environ, log_path)
    _say_modes(console, root, environ)
    url = f"http://{HOST}:{port}"
    with log_path.open("ab") as log:
        # A group of its own: Ctrl-C reaches only us, and we stop the services in order.
        process = subprocess.Popen(command, cwd=home, env=environ, stdout=log, stderr=log, **own_group(sys.platform))
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        console.print(f"Starting the UI and the daemon for {root.path} ...", highlight=False, soft_wrap=True)
        wait_until_ready(process, url, log_path)
        console.print(f"Ready: {url}   (log: {log_path}; Ctrl-C stops it)", highlight=False, soft_wrap=True)
        # In steps: on Windows a wait without end would not hear Ctrl-C.
        while process.poll() is None:
            time.sleep(0.5)
        raise UserError(f"The UI ended by itself with status {process.returncode}; see {log_path}.")
    except KeyboardInterrupt:
        console.print("Stopping ...")
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)
        stop_tree(process)
        _sweep(root)


def _switch_automation(mode: str, location: Sequence[str], environ: Mapping[str, str], log_path: Path) -> None:
    """Start or stop the automation sensor, before the daemon can look at it; the UI shows and changes the same."""
    act = "start" if mode == DECLARATIVE else "stop"
    command = [sys.executable, "-m", "dagster", "sensor", act, AUTOMATION_SENSOR, *location]
    with log_path.open("ab") as log:
        done = subprocess.run(command, env=dict(environ), stdout=log, stderr=log, check=False)
    if done.returncode != 0:
        raise UserError(f"The sensor {AUTOMATION_SENSOR} could not be changed; see {log_path}.")


def _say_modes(console: Console, root: DataRoot, environ: Mapping[str, str]) -> None:
    with open_instance(root, environ) as instance:
        declarative = automation_is_on(instance, LOCATION)
    if declarative:
        text = "Automation: declarative; accepted frames flow on by themselves (back: --automation job)."
        console.print(text, highlight=False, soft_wrap=True)
    problem = Night.of(environ).problem
    if problem is not None:
        console.print(problem, highlight=False, markup=False, soft_wrap=True)


def _sweep(root: DataRoot) -> None:
    """Mark the runs as failed that ended together with their daemon: theirs is this UI, which does not run now.

    In the cluster profile a run's process is a worker's and outlives the daemon.
    """
    with open_instance(root, os.environ) as instance:
        report_dead_runs(instance, root, daemon_is_gone=not is_cluster(os.environ))


def own_group(platform: str) -> dict[str, Any]:
    """Return the options of `Popen` that give a process a group of its own on a `sys.platform`."""
    if platform == "win32":
        return {"creationflags": 0x00000200}  # CREATE_NEW_PROCESS_GROUP, a name that only Windows' Python has
    return {"start_new_session": True}


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _require_free_port(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise UserError(f"Port {port} on {HOST} is taken; end the other program or choose one with --port.")


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log_path: os.PathLike[str]) -> None:
    """Wait until the UI answers; raises `UserError` when its process ends before, or it takes too long."""
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise UserError(f"The UI did not start (status {process.returncode}); see {os.fspath(log_path)}.")
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=2):  # noqa: S310 - our own address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise UserError(f"The UI did not answer within {_READY_TIMEOUT_S:.0f} s; see {os.fspath(log_path)}.")


def stop_tree(process: subprocess.Popen[Any], timeout_s: float = _STOP_TIMEOUT_S, *, interrupt: bool = True) -> None:
    """Interrupt a process so that it ends its services, then end what is left of its tree.

    Without `interrupt` it has been told already in another way.
    """
    if process.poll() is None:
        try:
            children = psutil.Process(process.pid).children(recursive=True)
        except psutil.Error:
            children = []
        if interrupt and sys.platform == "win32":
            process.send_signal(signal.CTRL_BREAK_EVENT)
        elif interrupt:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
        for child in alive:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
