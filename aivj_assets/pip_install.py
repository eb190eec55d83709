"""Runs pip for `aivj_assets.bootstrap`: stamp, lock, disk check, compact progress, failures in one line.

Standard library only: it runs before the project's packages are installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

# Measured: 6.4 GB on Linux, where PyTorch brings the CUDA libraries along.
FRESH_INSTALL_BYTES = 7_000_000_000 if sys.platform.startswith("linux") else 3_000_000_000
UPDATE_BYTES = 1_000_000_000
# What pip keeps in the temporary folder at once (wheels before they are unpacked).
TEMPORARY_BYTES = 4_000_000_000

_FOREIGN_PACKAGES = {"PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}
_TAIL_LINES = 15
# pip's five retries of a request, and the error that repeats what it looked for.
_LAST_WORDS_LINES = 6
_HEARTBEAT_S = 30.0
_REDRAW_S = 0.5
_LOUD_DOWNLOAD_MB = 50.0


class SetupError(Exception):
    """Set-up cannot go on; the text is one line with the way out."""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass(frozen=True)
class Stamp:
    """What was installed into `.venv`; written only after pip succeeded."""

    pyproject_sha256: str
    root: str
    """An editable installation points at this folder: a checkout that was moved must be installed again."""
    python: str
    extras: frozenset[str]

    @classmethod
    def of(cls, pyproject: Path, *, root: Path, python: str, extras: Iterable[str]) -> Stamp:
        """Return the stamp that an installation would leave now."""
        digest = hashlib.sha256(pyproject.read_bytes()).hexdigest()
        return cls(digest, str(root), python, frozenset(extras))

    @classmethod
    def read(cls, path: Path) -> Stamp | None:
        """Return the stamp in `path`, or None when there is none that can be read."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(data["pyproject_sha256"], data["root"], data["python"], frozenset(data["extras"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the stamp whole."""
        data = {
            "pyproject_sha256": self.pyproject_sha256,
            "root": self.root,
            "python": self.python,
            "extras": sorted(self.extras),
        }
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)

    def covers(self, wanted: Stamp) -> bool:
        """Tell whether an installation with this stamp is good for `wanted`: the same, perhaps with more extras."""
        same = (self.pyproject_sha256, self.root, self.python) == (wanted.pyproject_sha256, wanted.root, wanted.python)
        return same and self.extras >= wanted.extras

    def joined(self, extras: Iterable[str]) -> Stamp:
        """Return the stamp with further extras."""
        return Stamp(self.pyproject_sha256, self.root, self.python, self.extras | frozenset(extras))


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock that the system drops when the process dies; says so when it has to wait for another set-up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if not _try_lock(file):
            say("aivj: another set-up is at work in this checkout; waiting for it ...")
            while not _try_lock(file):
                time.sleep(0.5)
        yield


def _try_lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; returns whether it worked."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def check_disk(folder: Path, need_bytes: int) -> None:
    """Raise `SetupError` when less than `need_bytes` are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < need_bytes:
        raise SetupError(
            f"Not enough disk space in {folder}: {free / 1e9:.1f} GB free, {need_bytes / 1e9:.0f} GB needed "
            "(PyTorch is most of it). Make room and run the command again."
        )


def without_foreign_packages(base: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what makes Python or pip look for packages, or put them, outside of `.venv`.

    With PYTHONPATH pip would take a package found there for installed, and the environment would lack it.
    """
    return {name: value for name, value in base.items() if name.upper() not in _FOREIGN_PACKAGES}


def pip_environment(base: Mapping[str, str], own_temporary: Path, usual_temporary: Path) -> dict[str, str]:
    """Return pip's environment; downloads go to `own_temporary` when the usual place (a small tmpfs) is too small."""
    env = without_foreign_packages(base)
    # PIP_USER: a configuration file of the user's may ask for it too.
    env |= {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    env.pop("PIP_REQUIRE_VIRTUALENV", None)
    if shutil.disk_usage(usual_temporary).free < TEMPORARY_BYTES:
        own_temporary.mkdir(parents=True, exist_ok=True)
        env.update({name: str(own_temporary) for name in ("TMPDIR", "TEMP", "TMP")})
    return env


def drop_torn_installs(site_packages: Path) -> list[str]:
    """Remove the metadata of packages whose unpacking broke off, so that pip installs them again; returns their names.

    pip writes RECORD last, but takes a package without it for installed.
    """
    torn = [folder for folder in site_packages.glob("*.dist-info") if not (folder / "RECORD").is_file()]
    for folder in torn:
        shutil.rmtree(folder, ignore_errors=True)
    return [folder.name.partition("-")[0] for folder in torn]


class PipProgress:
    """Turns pip's output into one short status, e.g. `downloading torch 2.14.1 (915.6 MB), 31 packages`."""

    def __init__(self) -> None:
        self.status = "starting pip"
        self.loud = False
        """Whether the last line is worth a line of its own where nothing can be redrawn."""
        self._packages: set[str] = set()

    def feed(self, line: str) -> None:
        """Take one line of pip's output."""
        self.loud = False
        text = line.strip()
        if match := re.match(r"(Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)", text):
            self._packages.add(_normal(match[2]))
            self._set(f"looking up {match[2]}")
        elif match := re.match(
            r"(Downloading|Using cached|Processing) (\S+?)-(\d[^-\s]*)\S*(?: \(([\d.]+) ([kMG]?B)\))?", text
        ):
            name = re.split(r"[/\\]", match[2])[-1]
            size = f" ({match[4]} {match[5]})" if match[4] else ""
            self.loud = bool(match[4]) and _megabytes(float(match[4]), match[5]) >= _LOUD_DOWNLOAD_MB
            self._packages.add(_normal(name))
            self._set(f"{'downloading' if match[1] == 'Downloading' else 'taking'} {name} {match[3]}{size}")
        elif match := re.match(r"Installing collected packages: (.+)", text):
            self.loud = True
            self.status = f"unpacking {match[1].count(',') + 1} packages"

    def _set(self, what: str) -> None:
        self.status = f"{what}, {len(self._packages)} packages so far"


def _normal(name: str) -> str:
    """Return a package's name as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _megabytes(value: float, unit: str) -> float:
    return value * {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}[unit]


class LiveLine:
    """Shows a status: redrawn in a terminal, else a line now and then. Used as a context manager."""

    def __init__(self, progress: PipProgress, *, terminal: bool) -> None:
        self._progress = progress
        self._terminal = terminal
        self._started = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LiveLine:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._done.set()
        self._thread.join()
        if self._terminal:
            sys.stdout.write("\r\x1b[K" if os.name != "nt" else "\r" + " " * (_columns() - 1) + "\r")
            sys.stdout.flush()

    def line(self) -> str:
        """Return the line as it is now."""
        return f"  {self._progress.status}, {time.monotonic() - self._started:.0f} s"

    def announce(self) -> None:
        """Show the status now, where lines cannot be redrawn."""
        if not self._terminal:
            say(self.line())

    def _run(self) -> None:
        while not self._done.wait(_REDRAW_S if self._terminal else _HEARTBEAT_S):
            if self._terminal:
                width = _columns() - 1
                sys.stdout.write("\r" + self.line()[:width].ljust(width))
                sys.stdout.flush()
            else:
                say(self.line())


def _columns() -> int:
    return shutil.get_terminal_size((80, 24)).columns


def run_pip(command: list[str], *, log: Path, env: Mapping[str, str], python: str) -> None:
    """Run pip with its output in `log` and a compact progress on the screen. Raises `SetupError`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    progress = PipProgress()
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with log.open("w", encoding="utf-8") as file, LiveLine(progress, terminal=sys.stdout.isatty()) as live:
        file.write(f"$ {' '.join(command)}\n")
        with subprocess.Popen(
            [*command, "--progress-bar", "off"],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as pip:
            status = _follow(pip, file, progress, live, tail)
    if status != 0:
        say(f"aivj: pip's last lines (all of them: {log})")
        say("".join(f"  {line}" for line in tail).rstrip())
        raise SetupError(explain_pip_failure(log.read_text(encoding="utf-8", errors="replace"), python))
    say(f"aivj: installed ({time.monotonic() - started:.0f} s)")


def _follow(pip: subprocess.Popen[str], file: IO[str], progress: PipProgress, live: LiveLine, tail: deque[str]) -> int:
    assert pip.stdout is not None  # noqa: S101 - opened with a pipe
    try:
        for line in pip.stdout:
            file.write(line)
            tail.append(line)
            progress.feed(line)
            if progress.loud:
                live.announce()
        return pip.wait()
    except KeyboardInterrupt:
        end_child(pip)
        raise


def end_child(child: subprocess.Popen[Any], patience_s: float = 2.0) -> None:
    """Wait for a child that Ctrl-C reached as well; end it when the signal came to this process alone."""
    for nudge in (None, child.terminate, child.kill):
        if nudge is not None:
            nudge()
        try:
            child.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            continue
        return


_NETWORK_SIGNS = (
    "NewConnectionError|NameResolutionError|Temporary failure in name resolution|getaddrinfo failed|Connection refused|"
    "Network is unreachable|ConnectTimeoutError|ReadTimeoutError|Read timed out|Max retries exceeded|ProxyError|"
    "Connection reset|Connection aborted|IncompleteRead"
)
_NO_BUILD = r"No matching distribution found for (?P<package>[A-Za-z0-9][A-Za-z0-9._-]*)"
# What the output says, and what the user is told; the first that matches counts.
_PIP_FAILURES = (
    (
        r"No space left on device|\[Errno 28\]|WinError 112|not enough space",
        "The disk is full: make room (about {need_gb:.0f} GB are needed) and run the command again.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError",
        "pip does not trust the package index's certificate (a proxy?): set PIP_CERT to your CA file and try again.",
    ),
    (
        _NO_BUILD,
        "There is no build of {package} for Python {python} on this machine: use a 64-bit Python 3.11 to 3.13.",
    ),
    (
        _NETWORK_SIGNS,
        "No network, or the package index cannot be reached: check the connection (or PIP_PROXY) and try again.",
    ),
    (
        r"Windows Long Path|WinError 206",
        "A path is too long for Windows: move the checkout to a short path such as C:\\aivj, or enable long paths.",
    ),
    (
        r"Permission denied|WinError 5\b|Access is denied",
        "pip may not write to .venv: close programs that use it (the UI, an editor), check who owns the folder.",
    ),
)


def _was_cut_off(output: str, no_build: re.Match[str]) -> bool:
    """Tell whether pip found no build because the network failed just then; a failure it got over does not count."""
    lines = output[: no_build.start()].splitlines()[-_LAST_WORDS_LINES - 1 :]
    return re.search(_NETWORK_SIGNS, "\n".join(lines) + output[no_build.end() :]) is not None


def explain_pip_failure(output: str, python: str) -> str:
    """Return one line that says why pip failed and what to do."""
    for pattern, text in _PIP_FAILURES:
        match = re.search(pattern, output)
        if match and not (pattern == _NO_BUILD and _was_cut_off(output, match)):
            package = match.groupdict().get("package") or ""
            return text.format(package=package, python=python, need_gb=FRESH_INSTALL_BYTES / 1e9)
    errors = [line for line in output.splitlines() if line.lower().startswith("error")]
    return f"pip failed: {errors[-1][:200] if errors else 'see the log'}"
