"""Gets what rendering needs and pip cannot install: the web engine's npm packages and a browser."""

from __future__ import annotations

import os
import platform as host
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aivj_assets.errors import UserError
from aivj_assets.render.chromium import BrowserChoice, NoBrowserError, find_chromium, how_to_get_a_browser
from aivj_assets.render.web_engine import WebEngine, ensure_web_engine

Echo = Callable[[str], None]

_VERSION_TIMEOUT_S = 60
# Mesa's llvmpipe renders about 1.3 times as fast as the SwiftShader that Chromium brings along.
_DEBIAN_PACKAGES = ("chromium", "libegl1", "libgl1-mesa-dri")
_APT_OPTIONS = ("-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=2")


@dataclass(frozen=True)
class Provision:
    """What `provide` found or installed."""

    engine: WebEngine
    browser: BrowserChoice
    browser_version: str
    """As the browser prints it, e.g. `Chromium 156.0.8078.79`; empty on Windows, where asking would open a window."""


@dataclass(frozen=True)
class InstallStep:
    """One way to get a browser: commands to run one after the other."""

    title: str
    commands: tuple[tuple[str, ...], ...]
    optional: tuple[int, ...] = ()
    """Positions of commands whose failure does not end the step (`apt-get update` fails for one bad source)."""


class _BrokenBrowserError(UserError):
    """A browser that is there but does not start."""


def provide(
    environ: Mapping[str, str],
    *,
    engine_dir: Path,
    echo: Echo,
    platform: str | None = None,
    is_root: bool | None = None,
) -> Provision:
    """Make sure that the web engine lies below `engine_dir` and that a browser can be started; tell `echo` about it.

    What is already there is used as it is. Without a browser, one is installed: as root on Debian by apt-get, else as
    Playwright's own Chromium. Output of installers goes to `<engine_dir>/browser-install.log`.
    `platform` and `is_root` default to this process's. Raises `UserError` with the way out.
    """
    platform = platform or sys.platform
    is_root = _is_root() if is_root is None else is_root
    started = time.monotonic()
    fresh: list[str] = []

    def progress(text: str) -> None:
        fresh.append(text)
        echo(f"{text[:1].upper()}{text[1:]} ...")

    engine = ensure_web_engine(engine_dir, progress=progress, environ=environ)
    took = f" ({time.monotonic() - started:.0f} s)" if fresh else ""
    echo("Web engine: " + ", ".join(f"{name} {version}" for name, version in engine.versions.items()) + took)
    log = engine_dir / "browser-install.log"
    browser, version = ensure_browser(environ, platform=platform, is_root=is_root, log=log, echo=echo)
    echo(f"Browser: {version or browser.name} ({browser.executable})")
    return Provision(engine, browser, version)


def ensure_browser(
    environ: Mapping[str, str], *, platform: str, is_root: bool, log: Path, echo: Echo
) -> tuple[BrowserChoice, str]:
    """Return a browser that starts, and its version; installs one when there is none. Raises `UserError`."""
    try:
        return _working_browser(environ, platform)
    except (NoBrowserError, _BrokenBrowserError) as error:
        problem: UserError = error
    echo(str(problem).partition(": ")[0] + ".")
    for step in install_plan(environ, platform=platform, is_root=is_root):
        echo(f"{step.title} ...")
        started = time.monotonic()
        failure = _run_step(step, environ, log)
        if failure is None:
            try:
                found = _working_browser(environ, platform)
            except (NoBrowserError, _BrokenBrowserError) as error:
                failure = str(error)
            else:
                echo(f"{step.title}: done ({time.monotonic() - started:.0f} s)")
                return found
        echo(f"{step.title}: failed ({failure})")
    raise NoBrowserError(f"No browser could be installed (see {log}): {how_to_get_a_browser(platform)}.")


def install_plan(
    environ: Mapping[str, str], *, platform: str, is_root: bool, distribution: str | None = None
) -> list[InstallStep]:
    """Return the ways to get a browser on this machine, best first.

    `distribution` is os-release's ID (default: this machine's). Ubuntu's `chromium` package is a stub for a snap, which
    does not start in containers, so only Debian's is taken.
    """
    has_apt = platform.startswith("linux") and is_root and shutil.which("apt-get", path=environ.get("PATH")) is not None
    steps: list[InstallStep] = []
    if has_apt and (distribution or _distribution()) == "debian":
        install = ("apt-get", *_APT_OPTIONS, "install", "-y", "--no-install-recommends", *_DEBIAN_PACKAGES)
        steps.append(
            InstallStep(
                f"Installing {', '.join(_DEBIAN_PACKAGES)} with apt-get",
                (("apt-get", *_APT_OPTIONS, "update"), install),
                optional=(0,),
            )
        )
    # --no-shell: rendering wants the whole Chromium, whose new headless mode has the same GPU path as its window.
    with_deps = ("--with-deps",) if has_apt else ()
    command = (sys.executable, "-m", "playwright", "install", *with_deps, "--no-shell", "chromium")
    steps.append(InstallStep("Installing Playwright's Chromium", (command,)))
    return steps


def _distribution() -> str:
    try:
        return host.freedesktop_os_release().get("ID", "")
    except OSError:
        return ""


def _is_root() -> bool:
    return os.name != "nt" and os.geteuid() == 0


def _working_browser(environ: Mapping[str, str], platform: str) -> tuple[BrowserChoice, str]:
    """Return the browser found and its version; raises `UserError` when it is named by the user and does not start."""
    choice = find_chromium(environ, platform=platform)
    if platform == "win32":
        return choice, ""  # `chrome.exe --version` opens a window
    try:
        result = subprocess.run(
            [str(choice.executable), "--version"],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
        lines = (result.stdout if result.returncode == 0 else result.stderr or result.stdout).strip().splitlines()
        if result.returncode == 0 and lines:
            return choice, lines[-1].strip()
        reason = lines[0][:200] if lines else f"exit status {result.returncode}"
    except subprocess.TimeoutExpired:
        reason = f"no answer in {_VERSION_TIMEOUT_S} s"
    except OSError as error:
        reason = error.strerror or str(error)
    if choice.source == "environment":
        raise UserError(
            f"AIVJ_CHROMIUM names {choice.executable}, which does not start ({reason}): correct or unset it."
        )
    raise _BrokenBrowserError(f"The browser {choice.executable} does not start: {reason}")


def _run_step(step: InstallStep, environ: Mapping[str, str], log: Path) -> str | None:
    """Run a step's commands, output into `log`; return None, or one line that says what failed."""
    env = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
    log.parent.mkdir(parents=True, exist_ok=True)
    for position, command in enumerate(step.commands):
        with log.open("ab") as output:
            output.write(f"\n$ {' '.join(command)}\n".encode())
            output.flush()
            start = output.tell()
            try:
                status = subprocess.run(
                    command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
                ).returncode
            except OSError as error:
                return f"{command[0]}: {error.strerror or error}"
        if status != 0 and position not in step.optional:
            return explain_failure(log.read_bytes()[start:].decode("utf-8", errors="replace"), status)
    return None


def explain_failure(output: str, status: int) -> str:
    """Return the line of an installer's output that says why it failed, at most 200 characters."""
    if "ENOSPC" in output or "No space left" in output:
        return "no disk space left"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E: ", "Error: ", "Failed to "))]
    network = (
        "ENOTFOUND",
        "EAI_AGAIN",
        "ECONNREFUSED",
        "ETIMEDOUT",
        "Temporary failure resolving",
        "Could not resolve",
    )
    if any(sign in output for sign in network):
        return "no network: " + (errors or lines)[0][:180]
    return (errors[0] if errors else lines[-1] if lines else f"exit status {status}")[:200]
