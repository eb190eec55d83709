"""Takes a fresh checkout to a working `.venv` and starts the demo or the tests in it. Standard library only.

Order: `.venv` → pip (skipped when a stamp says that nothing changed) → `aivj setup` (web engine, browser) → the
command. Each step says in one line what it does, and on failure in one line why and what to do.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aivj_assets import pip_install
from aivj_assets.pip_install import SetupError, Stamp, say

USAGE = """usage: python3 -m aivj_assets demo [options]        run the main job on a starter pack of real presets
       python3 -m aivj_assets test [pytest options]  run the linters and the test suite

Both set up .venv, a web engine and a browser first when they are not there yet. `demo --help` lists its options."""

EXTRAS = {"demo": ("offline",), "test": ("cluster", "dev", "offline")}
MIN_NODE_MAJOR = 18
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

# Run by the .venv's Python: which version it is, whether it has pip, and which of the project's packages are missing.
_PROBE = r"""
import importlib.metadata as md, importlib.util, json, re, sys, sysconfig
wanted = set(sys.argv[1].split(",")) - {""}
found = list(md.distributions(name="aivj-assets", path=[sysconfig.get_path("purelib")]))
missing = [] if found else ["aivj-assets"]
for requirement in (found[0].requires or []) if found else []:
    name, _, marker = requirement.partition(";")
    name = re.match(r"[A-Za-z0-9._-]+", name).group()
    extra = re.fullmatch(r"\s*extra == ['\"]([^'\"]+)['\"]\s*", marker)
    if marker and (extra is None or extra.group(1) not in wanted):
        continue
    try:
        md.version(name)
    except md.PackageNotFoundError:
        missing.append(name)
pip = importlib.util.find_spec("pip") is not None
print(json.dumps({"version": list(sys.version_info[:3]), "pip": pip, "missing": missing}))
"""


@dataclass(frozen=True)
class Project:
    """The checkout: the folder that holds `pyproject.toml` and the package."""

    root: Path
    windows: bool = os.name == "nt"

    @property
    def venv(self) -> Path:
        """`.venv`."""
        return self.root / ".venv"

    @property
    def scripts(self) -> Path:
        """The folder of the environment's programs: `Scripts` on Windows, else `bin`."""
        return self.venv / ("Scripts" if self.windows else "bin")

    @property
    def python(self) -> Path:
        """The environment's Python."""
        return self.scripts / ("python.exe" if self.windows else "python")

    @property
    def pyproject(self) -> Path:
        """`pyproject.toml`."""
        return self.root / "pyproject.toml"

    @property
    def local(self) -> Path:
        """`.aivj`: logs, locks, caches of this checkout."""
        return self.root / ".aivj"


def find_project(package_dir: Path) -> Project:
    """Return the project around the package; raises `SetupError` when it is not a checkout."""
    root = package_dir.resolve().parent
    if not (root / "pyproject.toml").is_file():
        raise SetupError(
            f"{root} holds no pyproject.toml: run this from a clone of the repository, or use `aivj` directly."
        )
    return Project(root)


def main(arguments: Sequence[str]) -> int:
    """Run `demo` or `test` with the rest of the arguments passed through; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a Windows console that cannot show a character of a path
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else EXIT_USAGE
    if arguments[0] not in EXTRAS:
        print(f"aivj: unknown command '{arguments[0]}'\n{USAGE}", file=sys.stderr)
        return EXIT_USAGE
    try:
        return run_command(arguments[0], list(arguments[1:]))
    except SetupError as error:
        problem = str(error)
    except KeyboardInterrupt:
        print("\naivj: stopped; the same command goes on where it left off.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        problem = f"{error.strerror or error}{where}: check that the folder can be written to."
    print(f"aivj: {problem}", file=sys.stderr)
    return 1


def run_command(command: str, rest: list[str]) -> int:
    """Set up, then run `demo` or `test`; returns the exit status. Raises `SetupError`."""
    project = find_project(Path(__file__).parent)
    status = set_up(project, command, os.environ)
    if status != 0:
        return status
    return run_demo(project, rest) if command == "demo" else run_tests(project, rest)


def set_up(project: Project, command: str, environ: Mapping[str, str]) -> int:
    """Make `.venv`, install, get web engine and browser; returns 0, or the status of the step that failed."""
    started = time.monotonic()
    extras = set(EXTRAS[command])
    if not has_node(environ):
        extras.add("node")
    with pip_install.exclusive(project.local / "setup.lock"):
        state = ensure_venv(project, extras)
        fresh = ensure_installed(project, extras, state)
    if not fresh:
        say(f"aivj: .venv is up to date ({time.monotonic() - started:.1f} s)")
    # Its own process: it needs packages that were installed a moment ago.
    return run_child([str(project.python), "-m", "aivj_assets.cli", "setup"], project)


def has_node(environ: Mapping[str, str]) -> bool:
    """Tell whether PATH has npm and a Node.js that is new enough."""
    node, npm = (shutil.which(name, path=environ.get("PATH")) for name in ("node", "npm"))
    if node is None or npm is None:
        return False
    try:
        result = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60, check=False)
        return int(result.stdout.strip().removeprefix("v").split(".")[0]) >= MIN_NODE_MAJOR
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False


def probe(project: Project, extras: set[str]) -> dict[str, Any] | None:
    """Return what the environment's Python says of itself, or None when it does not run."""
    if not project.python.is_file():
        return None
    command = [str(project.python), "-I", "-c", _PROBE, ",".join(sorted(extras))]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        state: dict[str, Any] = json.loads(result.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return state


def ensure_venv(project: Project, extras: set[str]) -> dict[str, Any]:
    """Make `.venv` when it is missing or broken; returns its state. Raises `SetupError`."""
    state = probe(project, extras)
    if state is None:
        state = make_venv(project, extras)
    limit = newest_python(project.pyproject.read_text(encoding="utf-8"))
    reason = unfit_python(tuple(state["version"]), limit)
    if reason:
        raise SetupError(f".venv holds {reason}: delete the folder {project.venv} and run the command again.")
    if not state["pip"]:
        command = [str(project.python), "-m", "ensurepip", "--default-pip"]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            raise SetupError(f".venv has no pip: delete the folder {project.venv} and run the command again.")
    return state


def make_venv(project: Project, extras: set[str]) -> dict[str, Any]:
    """Create `.venv` with this Python; returns its state. Raises `SetupError`."""
    version = sys.version_info[:3]
    reason = unfit_python(version, newest_python(project.pyproject.read_text(encoding="utf-8")))
    if reason:
        raise SetupError(
            f"This is {reason}: run the command with another Python (Windows: py -3.12 -m aivj_assets ...)."
        )
    if importlib.util.find_spec("ensurepip") is None:
        package = f"python{version[0]}.{version[1]}-venv"
        raise SetupError(
            f"This Python cannot make virtual environments: run `sudo apt-get install {package}`, then again."
        )
    pip_install.check_disk(project.root, pip_install.FRESH_INSTALL_BYTES)
    what = "making .venv anew (its Python does not start)" if project.venv.exists() else "making .venv"
    started = time.monotonic()
    say(f"aivj: {what} with Python {'.'.join(map(str, version))} ...")
    command = [sys.executable, "-m", "venv", "--clear", str(project.venv)]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    state = probe(project, extras)
    if result.returncode != 0 or state is None:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no error text"]
        raise SetupError(f"{project.venv} could not be made: {lines[-1]}. Try: {sys.executable} -m venv --clear .venv")
    say(f"aivj: made .venv ({time.monotonic() - started:.1f} s)")
    return state


def newest_python(pyproject: str) -> tuple[int, int] | None:
    """Return the first Python (major, minor) that `requires-python` excludes at the upper end, or None."""
    match = re.search(r"""(?m)^requires-python\s*=\s*["'][^"']*<\s*(\d+)\.(\d+)""", pyproject)
    return (int(match[1]), int(match[2])) if match else None


def unfit_python(version: tuple[int, ...], limit: tuple[int, int] | None) -> str | None:
    """Return what is wrong with a Python version, or None when it fits."""
    name = f"Python {version[0]}.{version[1]}"
    newest = f" to {limit[0]}.{limit[1] - 1}" if limit else " or newer"
    if version[:2] < (3, 11) or (limit and version[:2] >= limit):
        return f"{name}, but aivj-assets needs 3.11{newest}"
    return None


def ensure_installed(project: Project, extras: set[str], state: Mapping[str, Any]) -> bool:
    """Install the project with `extras` unless the stamp and the packages say it is there; returns whether pip ran."""
    stamp_file = project.venv / "aivj-install.json"
    version = ".".join(map(str, state["version"]))
    kept = Stamp.read(stamp_file)
    wanted = Stamp.of(project.pyproject, root=project.root, python=version, extras=extras)
    if kept is not None and kept.covers(wanted) and not state["missing"]:
        return False
    if kept is not None:
        wanted = wanted.joined(kept.extras)  # the demo does not take the tests' packages out of date
    # Gone while pip works: an installation that breaks off leaves no stamp.
    stamp_file.unlink(missing_ok=True)
    fresh = not any((folder / "torch" / "version.py").is_file() for folder in site_packages(project))
    for folder in site_packages(project):
        pip_install.drop_torn_installs(folder)
    need = pip_install.FRESH_INSTALL_BYTES if fresh else pip_install.UPDATE_BYTES
    pip_install.check_disk(project.root, need)
    say(
        "aivj: installing the project and its packages "
        + (f"(the first time takes minutes and about {need / 1e9:.0f} GB of disk) ..." if fresh else "...")
    )
    target = f"{project.root}[{','.join(sorted(wanted.extras))}]"
    pip_install.run_pip(
        [str(project.python), "-m", "pip", "install", "-e", target],
        log=project.local / "log" / "pip-install.log",
        env=pip_install.pip_environment(child_environment(project), project.local / "tmp", Path(tempfile.gettempdir())),
        python=version,
    )
    shutil.rmtree(project.local / "tmp", ignore_errors=True)
    after = probe(project, set(wanted.extras))
    if after is None or after["missing"]:
        names = ", ".join(after["missing"]) if after else "its Python"
        raise SetupError(f"pip finished, but .venv lacks {names}: delete the folder {project.venv} and try again.")
    wanted.write(stamp_file)
    return True


def site_packages(project: Project) -> list[Path]:
    """Return the environment's `site-packages` (one folder, none when there is no environment)."""
    pattern = "Lib/site-packages" if project.windows else "lib/python*/site-packages"
    return sorted(project.venv.glob(pattern))


def child_environment(project: Project) -> dict[str, str]:
    """Return the environment of a process in `.venv`: as activating it would set it, and without foreign packages."""
    env = pip_install.without_foreign_packages(os.environ)
    env["VIRTUAL_ENV"] = str(project.venv)
    env["PATH"] = os.pathsep.join([str(project.scripts), *filter(None, [os.environ.get("PATH")])])
    return env


def run_child(command: list[str], project: Project, cwd: Path | None = None) -> int:
    """Run a program in the foreground and return its exit status (128 + n when signal n ended it).

    A Ctrl-C in a terminal reaches the child by itself, which ends in its own way. A signal that was sent to this
    process alone is passed on.
    """
    sys.stdout.flush()
    in_terminal = sys.stdin is not None and sys.stdin.isatty()
    children: list[subprocess.Popen[bytes]] = []

    def interrupt(number: int, _frame: object) -> None:
        if not project.windows and not in_terminal:
            for child in children:
                child.send_signal(number)

    def terminate(_number: int, _frame: object) -> None:
        for child in children:
            child.terminate()

    before = [
        (number, signal.signal(number, h)) for number, h in ((signal.SIGINT, interrupt), (signal.SIGTERM, terminate))
    ]
    try:
        with subprocess.Popen(command, env=child_environment(project), cwd=cwd) as child:
            children.append(child)
            status = child.wait()
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    return 128 - status if status < 0 else status


def hand_over(command: list[str], project: Project, cwd: Path | None = None) -> int:
    """End by running `command`: in this process's place where that exists, so that every signal is the child's."""
    if project.windows:  # its exec returns to the prompt while the child still runs
        return run_child(command, project, cwd)
    sys.stdout.flush()
    sys.stderr.flush()
    if cwd is not None:
        os.chdir(cwd)
    return os.execve(command[0], command, child_environment(project))  # noqa: S606


def run_demo(project: Project, arguments: list[str]) -> int:
    """Run `aivj demo` in the user's folder: a relative `--root` means what it says."""
    return hand_over([str(project.python), "-m", "aivj_assets.cli", "demo", *arguments], project)


# pytest after Ctrl-C, and a child that a signal ended.
_STOPPED = (2, 130, 143)
# More than the two processors of a small machine: two at a time leave half of them idle, so many tests wait.
# Files in their order, the long ones first: by their number of tests the longest would begin last.
_THREE_AT_A_TIME = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not alone")
_LONG_FIRST = tuple(f"aivj_assets_tests/{name}" for name in ("integration", "browser", "unit"))
_HAVE_ALONE = tuple(f"aivj_assets_tests/{name}" for name in ("browser", "integration"))
# What to look at when the suite has become slow.
_SLOWEST = ("--durations=20", "--durations-min=5")


def run_tests(project: Project, arguments: list[str]) -> int:
    """Run pytest; without arguments ruff and mypy first, then all tests three at a time but those to be alone.

    The status is not 0 when any of them failed.
    """
    python = str(project.python)
    pytest = [python, "-m", "pytest"]
    if arguments:
        return hand_over([*pytest, *arguments], project, project.root)
    checks = {
        "ruff check": [python, "-m", "ruff", "check", "."],
        "ruff format": [python, "-m", "ruff", "format", "--check", "."],
        "mypy": [python, "-m", "mypy"],
    }
    failed = [name for name, command in checks.items() if not passes(name, command, project)]
    status = run_child([*pytest, *_THREE_AT_A_TIME, *_SLOWEST, *_LONG_FIRST], project, project.root)
    if status in _STOPPED:
        return status
    if status:
        failed.append("tests beside each other")
    alone = [*pytest, "-m", "alone", *_SLOWEST, *_HAVE_ALONE]
    if not failed:
        return hand_over(alone, project, project.root)
    status = run_child(alone, project, project.root)
    print(f"aivj: failed before the tests that run alone: {', '.join(failed)} (see above)", file=sys.stderr)
    return status or 1


def passes(name: str, command: list[str], project: Project) -> bool:
    """Run one check, show its output when it fails, and tell whether it passed."""
    started = time.monotonic()
    result = subprocess.run(
        command,
        cwd=project.root,
        env=child_environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode != 0:
        say(result.stdout.rstrip())
    say(f"aivj: {name}: {'ok' if result.returncode == 0 else 'FAILED'} ({time.monotonic() - started:.1f} s)")
    return result.returncode == 0
