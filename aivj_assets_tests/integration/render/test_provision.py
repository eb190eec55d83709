"""How a browser is got where there is none: the plan, and what the user is told."""

import json
import os
import sys
from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.render import provision, web_engine
from aivj_assets.render.chromium import NoBrowserError
from aivj_assets.render.provision import ensure_browser, explain_failure, install_plan, provide

posix_only = pytest.mark.skipif(os.name == "nt", reason="fakes programs with shell scripts")
WORKING = "#!/bin/sh\necho Chromium 199.0\n"
BROKEN = "#!/bin/sh\necho 'chromium: error while loading shared libraries: libnss3.so' >&2\nexit 127\n"


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def environ_of(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty PATH of its own, no browser of Playwright's, and no way to download one."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    return {
        "PATH": str(tmp_path / "bin"),
        "HOME": str(tmp_path),
        "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "browsers"),
        "PLAYWRIGHT_DOWNLOAD_HOST": "http://127.0.0.1:9",
    }


def fake_apt(tmp_path: Path, *, works: bool = True) -> None:
    """An apt-get whose `update` fails for one bad source, as it often does, and whose `install` brings a browser."""
    target = tmp_path / "bin" / "chromium"
    install = f"printf '{WORKING!s}' > {target}; /bin/chmod +x {target}".replace("\n", "\\n")
    failure = "echo 'Reading package lists...'; echo 'E: Unable to locate package chromium'; exit 100"
    script(
        tmp_path / "bin" / "apt-get",
        f'#!/bin/sh\necho "$DEBIAN_FRONTEND $*" >> {tmp_path}/apt-calls\n'
        f'case "$*" in *update) exit 100;; *) {install if works else failure};; esac\n',
    )


@posix_only
def test_a_browser_that_is_there_is_used_and_nothing_installed(tmp_path):
    environ = environ_of(tmp_path)
    script(tmp_path / "bin" / "chromium", WORKING)
    fake_apt(tmp_path)
    said: list[str] = []
    choice, version = ensure_browser(
        environ, platform="linux", is_root=True, log=tmp_path / "log" / "browser.log", echo=said.append
    )
    assert (choice.executable, version) == (tmp_path / "bin" / "chromium", "Chromium 199.0")
    assert said == []
    assert not (tmp_path / "apt-calls").exists()


@posix_only
def test_root_on_debian_gets_chromium_and_mesa_by_apt(tmp_path, monkeypatch):
    monkeypatch.setattr(provision, "_distribution", lambda: "debian")
    environ = environ_of(tmp_path)
    fake_apt(tmp_path)
    said: list[str] = []
    choice, version = ensure_browser(
        environ, platform="linux", is_root=True, log=tmp_path / "browser.log", echo=said.append
    )
    assert (choice.executable, version) == (tmp_path / "bin" / "chromium", "Chromium 199.0")
    update, install = (tmp_path / "apt-calls").read_text().splitlines()
    assert update.endswith("update")
    assert install.startswith("noninteractive ")
    assert install.endswith("install -y --no-install-recommends chromium libegl1 libgl1-mesa-dri")
    assert said[0] == "No browser was found to render with."
    assert said[1] == "Installing chromium, libegl1, libgl1-mesa-dri with apt-get ..."
    assert "done" in said[2]


@posix_only
def test_when_every_way_fails_the_reasons_and_the_choices_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(provision, "_distribution", lambda: "debian")
    environ = environ_of(tmp_path)
    fake_apt(tmp_path, works=False)
    said: list[str] = []
    with pytest.raises(NoBrowserError, match="AIVJ_CHROMIUM") as raised:
        ensure_browser(environ, platform="linux", is_root=True, log=tmp_path / "browser.log", echo=said.append)
    assert "\n" not in str(raised.value)
    assert any("failed (E: Unable to locate package chromium)" in line for line in said)
    assert any(line.startswith("Installing Playwright's Chromium: failed (") for line in said)
    assert "$ apt-get" in (tmp_path / "browser.log").read_text(encoding="utf-8")


@posix_only
def test_a_browser_that_does_not_start_is_replaced_and_its_reason_told(tmp_path, monkeypatch):
    monkeypatch.setattr(provision, "_distribution", lambda: "debian")
    environ = environ_of(tmp_path)
    script(tmp_path / "bin" / "chromium", BROKEN)
    with pytest.raises(UserError) as raised:
        provision._working_browser(environ, "linux")
    assert "libnss3.so" in str(raised.value)
    fake_apt(tmp_path)
    _choice, version = ensure_browser(
        environ, platform="linux", is_root=True, log=tmp_path / "browser.log", echo=lambda _text: None
    )
    assert version == "Chromium 199.0"


@posix_only
def test_a_named_browser_that_does_not_start_is_the_users_to_mend(tmp_path):
    broken = script(tmp_path / "my-chrome", BROKEN)
    fake_apt(tmp_path)
    with pytest.raises(UserError, match=r"AIVJ_CHROMIUM names .*my-chrome, which does not start"):
        ensure_browser(
            environ_of(tmp_path) | {"AIVJ_CHROMIUM": str(broken)},
            platform="linux",
            is_root=True,
            log=tmp_path / "browser.log",
            echo=lambda _text: None,
        )
    assert not (tmp_path / "apt-calls").exists()


@posix_only
@pytest.mark.parametrize(
    ("platform", "is_root", "distribution", "tools"),
    [
        ("linux", True, "debian", ["apt-get", "playwright --with-deps"]),
        ("linux", True, "ubuntu", ["playwright --with-deps"]),
        ("linux", False, "debian", ["playwright"]),
        ("darwin", True, "", ["playwright"]),
        ("win32", False, "", ["playwright"]),
    ],
)
def test_the_plan_for_each_machine(tmp_path, platform, is_root, distribution, tools):
    environ = environ_of(tmp_path)
    fake_apt(tmp_path)
    plan = install_plan(environ, platform=platform, is_root=is_root, distribution=distribution)
    found = []
    for step in plan:
        command = step.commands[-1]
        if command[0] == sys.executable:
            found.append("playwright --with-deps" if "--with-deps" in command else "playwright")
        else:
            found.append(command[0])
    assert found == tools


def test_windows_is_never_asked_for_a_version(tmp_path):
    """`chrome.exe --version` opens a window there."""
    executable = tmp_path / "Google" / "Chrome" / "Application" / "chrome.exe"
    executable.parent.mkdir(parents=True)
    executable.write_text("not a program", encoding="utf-8")
    environ = {"PROGRAMFILES": str(tmp_path), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "none")}
    choice, version = ensure_browser(
        environ, platform="win32", is_root=False, log=tmp_path / "browser.log", echo=lambda _text: None
    )
    assert (choice.executable, version) == (executable, "")


@posix_only
def test_provide_tells_what_it_uses(tmp_path, monkeypatch):
    source = tmp_path / "page"
    source.mkdir()
    for name, more in (("package.json", {}), ("package-lock.json", {"lockfileVersion": 3, "packages": {}})):
        (source / name).write_text(json.dumps({"name": "page", "version": "1.0.0"} | more), encoding="utf-8")
    monkeypatch.setitem(web_engine.ensure_web_engine.__kwdefaults__, "source_dir", source)
    environ = os.environ | {"AIVJ_CHROMIUM": str(script(tmp_path / "chrome", WORKING))}
    said: list[str] = []
    result = provide(environ, engine_dir=tmp_path / "engine", echo=said.append, platform="linux")
    assert result.engine.root.parent == tmp_path / "engine"
    assert said[0] == "Installing the web engine's npm packages ..."
    assert said[-1] == f"Browser: Chromium 199.0 ({tmp_path / 'chrome'})"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Get:1 ...\nE: Unable to locate package chromium\n", "E: Unable to locate package chromium"),
        ("write: ENOSPC: no space left", "no disk space left"),
        ("Downloading\nError: getaddrinfo ENOTFOUND host\n  at x", "no network: Error: getaddrinfo ENOTFOUND host"),
        ("", "exit status 7"),
    ],
)
def test_an_installers_failure_is_one_line(output, expected):
    assert explain_failure(output, 7) == expected
