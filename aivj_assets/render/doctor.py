"""What this machine has for rendering: facts, the browser, which flags give which renderer, what stands in the way.

Nothing is installed or changed; browsers are started and ended.
"""

from __future__ import annotations

import os
import platform as host
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import psutil
from pydantic import Field

from aivj_assets.contracts.base import ContractModel
from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, web_engine_dir
from aivj_assets.render.browser import LiveBrowser
from aivj_assets.render.chromium import (
    RendererKind,
    accepts,
    classify_renderer,
    find_chromium,
    launch_environment,
    launch_flags,
)
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.machine import is_root
from aivj_assets.render.preflight_places import TYPICAL_BYTES_PER_PRESET, size_text
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.start_failure import renderer_advice, software_advice
from aivj_assets.render.web_engine import PAGE_DIR, WebEngine, installed_web_engine

Say = Callable[[str], None]
T = TypeVar("T")

_LEAST_DISK_BYTES, _LITTLE_DISK_BYTES = 200_000_000, 5_000_000_000
_LEAST_MEMORY_BYTES = 1_500_000_000
_NVIDIA_TIMEOUT_S = 10


class Problem(ContractModel):
    """One line: what is the matter and what to do."""

    text: str
    stops_rendering: bool = False


class MachineFacts(ContractModel):
    """The machine below everything."""

    python: str
    system: str
    cores: int
    """Those that this process may use."""
    memory_bytes: int
    memory_available_bytes: int
    data_root: str
    disk_free_bytes: int
    nvidia_gpus: list[str]
    """Names that `nvidia-smi` tells; empty where there is none."""


class BrowserFacts(ContractModel):
    """The browser that renders."""

    executable: str
    source: str
    """Where the choice came from: environment (AIVJ_CHROMIUM), playwright, system."""
    version: str = ""
    sandbox: bool
    sandbox_reason: str


class RendererTrial(ContractModel):
    """One candidate set of Chromium flags, tried."""

    name: str
    """The WebGL backend that the flags ask for (`--use-angle=…`)."""
    headless: bool
    renderer: str | None
    """UNMASKED_RENDERER_WEBGL; None without WebGL2."""
    renderer_class: RendererKind | Literal["none"]
    problem: str | None = None
    start_s: float
    chosen: bool = False
    flags: list[str]


class Checkup(ContractModel):
    """What `examine` found."""

    machine: MachineFacts
    web_engine: dict[str, str] | None
    """Versions by package; None when it is not installed."""
    browser: BrowserFacts | None = None
    renderers: list[RendererTrial] = Field(default_factory=list)
    page: PageDescription | None = None
    """What the render page says of itself; None when it does not load."""
    problems: list[Problem] = Field(default_factory=list)

    @property
    def chosen(self) -> RendererTrial | None:
        """The candidate that `renderer: auto` takes."""
        return next((trial for trial in self.renderers if trial.chosen), None)

    @property
    def can_render(self) -> bool:
        """False when a problem stops rendering."""
        return not any(problem.stops_rendering for problem in self.problems)


def examine(
    root: DataRoot, environ: Mapping[str, str], say: Say | None = None
) -> tuple[Checkup, RenderEnvironment | None]:
    """Look at the machine and try the candidate flags one after the other (a few seconds each).

    Returns the checkup and, when presets can be rendered, the environment to do it in. Raises nothing that a user can
    cause: what is missing is a problem in the checkup.
    """
    say = say or (lambda _text: None)
    say("Looking at the machine")
    checkup = Checkup(machine=_machine_facts(root), web_engine=None)
    checkup.problems += _place_problems(root, checkup.machine)
    engine = _find(lambda: _installed_engine(environ), checkup)
    checkup.web_engine = dict(engine.versions) if engine else None
    choice = _find(lambda: find_chromium(environ, platform=sys.platform), checkup)
    if choice is None:
        return checkup, None
    environment = RenderEnvironment(
        executable=choice.executable,
        browser_source=choice.source,
        page_dir=PAGE_DIR,
        node_modules=engine.node_modules if engine else Path(os.devnull),
        is_root=is_root(),
        platform=sys.platform,
    )
    checkup.browser = _browser_facts(environment)
    _try_renderers(checkup, environment, environ, say)
    checkup.problems += renderer_problems(checkup, sys.platform)
    if engine is not None and checkup.chosen is not None:
        say("Loading the render page")
        report = _find(lambda: describe_renderer(environment, RenderParameters()), checkup)
        checkup.page = report.page if report else None
    return checkup, environment if checkup.can_render else None


def _installed_engine(environ: Mapping[str, str]) -> WebEngine:
    engine = installed_web_engine(web_engine_dir(environ))
    if engine is None:
        raise UserError("The web engine is not installed: run aivj setup.")
    return engine


def _find(look: Callable[[], T], checkup: Checkup) -> T | None:
    """Return what `look` returns; its `UserError` becomes a problem that stops rendering."""
    try:
        return look()
    except UserError as error:
        checkup.problems.append(Problem(text=str(error), stops_rendering=True))
        return None


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _machine_facts(root: DataRoot) -> MachineFacts:
    memory = psutil.virtual_memory()
    return MachineFacts(
        python=host.python_version(),
        system=f"{host.platform()} ({host.machine()})",
        cores=usable_cores(),
        memory_bytes=memory.total,
        memory_available_bytes=memory.available,
        data_root=str(root.path),
        disk_free_bytes=shutil.disk_usage(_existing(root.path)).free,
        nvidia_gpus=nvidia_gpus(),
    )


def _existing(path: Path) -> Path:
    """Return the nearest folder that exists, `path` included."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def nvidia_gpus() -> list[str]:
    """Return the names of NVIDIA GPUs as their driver tells them; empty without a driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        told = subprocess.run(
            [command, "--query-gpu=name", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_NVIDIA_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in told.stdout.splitlines() if line.strip()] if told.returncode == 0 else []


def _place_problems(root: DataRoot, facts: MachineFacts) -> list[Problem]:
    problems = []
    folder = _existing(root.path)
    if facts.disk_free_bytes < _LITTLE_DISK_BYTES:
        room = int(facts.disk_free_bytes / TYPICAL_BYTES_PER_PRESET)
        text = (
            f"Only {size_text(facts.disk_free_bytes)} are free at {folder}: room for about {room:,} presets. Make room."
        )
        problems.append(Problem(text=text, stops_rendering=facts.disk_free_bytes < _LEAST_DISK_BYTES))
    if facts.memory_available_bytes < _LEAST_MEMORY_BYTES:
        text = f"Only {size_text(facts.memory_available_bytes)} of memory are free: close other programs."
        problems.append(Problem(text=text))
    return problems


def _browser_facts(environment: RenderEnvironment) -> BrowserFacts:
    off = environment.is_root and environment.platform != "win32"
    return BrowserFacts(
        executable=str(environment.executable),
        source=environment.browser_source,
        sandbox=not off,
        sandbox_reason="it does not run as root: use an ordinary user for foreign presets" if off else "ordinary user",
    )


# ---------------------------------------------------------------------- renderers


def candidates(platform: str, *, is_root_: bool, headless: bool = True) -> list[list[str]]:
    """Return every candidate set of flags once, those for a GPU first."""
    found: list[list[str]] = []
    for mode in ("gpu", "auto"):
        for flags in launch_flags(platform, mode, headless=headless, is_root=is_root_):
            if flags not in found:
                found.append(flags)
    return found


def backend(flags: Sequence[str]) -> str:
    """Return the WebGL backend that flags ask for, e.g. `vulkan`."""
    return next((flag.partition("=")[2] for flag in flags if flag.startswith("--use-angle=")), "default")


def _try_renderers(checkup: Checkup, environment: RenderEnvironment, environ: Mapping[str, str], say: Say) -> None:
    """Try all candidates without a window and, where that finds no GPU and there is a display, one with a window."""
    for flags in candidates(environment.platform, is_root_=environment.is_root):
        say(f"Trying {backend(flags)}")
        checkup.renderers.append(_try(environment, flags, checkup, headless=True))
    automatic = launch_flags(environment.platform, "auto", headless=True, is_root=environment.is_root)
    for flags in automatic:
        trial = next(trial for trial in checkup.renderers if trial.flags == flags)
        if accepts("auto", trial.renderer):
            trial.chosen = True
            break
    has_gpu = any(trial.renderer_class == "gpu" for trial in checkup.renderers)
    if not has_gpu and has_display(environment.platform, environ):
        flags = candidates(environment.platform, is_root_=environment.is_root, headless=False)[0]
        say(f"Trying {backend(flags)} with a window")
        checkup.renderers.append(_try(environment, flags, checkup, headless=False))


def has_display(platform: str, environ: Mapping[str, str]) -> bool:
    """Tell whether a window can be shown, as far as the environment says."""
    return platform in ("win32", "darwin") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def _try(environment: RenderEnvironment, flags: list[str], checkup: Checkup, *, headless: bool) -> RendererTrial:
    started_s = time.monotonic()
    parameters = RenderParameters(headless=headless)
    browser = LiveBrowser(environment, parameters, flags, launch_environment(environment.platform, "auto"))
    renderer: str | None = None
    problem: str | None = None
    try:
        browser.start()
        renderer = browser.webgl_renderer
        if checkup.browser is not None:
            checkup.browser.version = browser.version
    except UserError as error:
        problem = str(error)
    took_s = time.monotonic() - started_s
    browser.close()
    return RendererTrial(
        name=backend(flags),
        headless=headless,
        renderer=renderer,
        renderer_class=classify_renderer(renderer) if renderer else "none",
        problem=problem,
        start_s=round(took_s, 3),
        flags=flags,
    )


def renderer_problems(checkup: Checkup, platform: str) -> list[Problem]:
    """Return what the trials say: no WebGL2 at all, software in place of a GPU, a GPU that `auto` does not take."""
    chosen = checkup.chosen
    if chosen is None:
        failure = next((trial.problem for trial in checkup.renderers if trial.problem), None)
        text = failure or f"The browser offers no WebGL2 with any set of flags: {renderer_advice(platform)}."
        return [Problem(text=text, stops_rendering=True)]
    problems = []
    if checkup.browser is not None and not checkup.browser.sandbox:
        problems.append(Problem(text=f"Chromium's sandbox is off ({checkup.browser.sandbox_reason})."))
    if chosen.renderer_class == "gpu":
        return problems
    gpu = next((trial for trial in checkup.renderers if trial.renderer_class == "gpu"), None)
    if gpu is not None:
        remedy = "--set headless=false" if not gpu.headless else "--set renderer=gpu"
        where = "with a window" if not gpu.headless else f"by {gpu.name}"
        text = f"WebGL runs in software ({chosen.renderer_class}), but on the GPU {where}: render with {remedy}."
    elif checkup.machine.nvidia_gpus:
        text = (
            f"There is an {checkup.machine.nvidia_gpus[0]}, but WebGL runs in software ({chosen.renderer_class}): "
            "update the graphics driver, or try --set headless=false on a machine with a display."
        )
    else:
        text = software_advice(chosen.renderer_class, platform)
    return [*problems, Problem(text=text)]
