"""The set-up: when it installs, what it says when something is missing, how it passes on statuses and signals."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from aivj_assets import bootstrap, pip_install
from aivj_assets.bootstrap import Project
from aivj_assets.layout import project_root
from aivj_assets.pip_install import PipProgress, SetupError, Stamp

PACKAGE = Path(bootstrap.__file__).parent
STATE = {"version": [3, 12, 4], "pip": True, "missing": []}
posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "pyproject.toml").write_text('requires-python = ">=3.11,<3.14"\n', encoding="utf-8")
    site = tmp_path / ".venv" / "lib" / "python3.12" / "site-packages"
    (site / "torch").mkdir(parents=True)
    (site / "torch" / "version.py").touch()
    return Project(tmp_path, windows=False)


@pytest.fixture
def pip(monkeypatch):
    """A pip that is only counted; `outcome` is what happens in it, `after` what the environment then says of itself."""
    record = SimpleNamespace(commands=[], outcome=lambda: None, after=STATE)

    def run_pip(command, **_options):
        record.commands.append(command)
        record.outcome()

    monkeypatch.setattr(pip_install, "run_pip", run_pip)
    monkeypatch.setattr(bootstrap, "probe", lambda _project, _extras: record.after)
    return record


# --- the command line ---------------------------------------------------------------------------------------------


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aivj_assets", *arguments],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("nonsense",), ()])
def test_an_unknown_command_shows_a_short_usage(arguments):
    result = run_module(*arguments)
    assert result.returncode == 2
    assert "usage: python3 -m aivj_assets demo" in result.stderr
    assert len(result.stderr.splitlines()) < 8


def test_help_is_no_mistake():
    result = run_module("--help")
    assert result.returncode == 0
    assert "python3 -m aivj_assets test" in result.stdout


@pytest.mark.parametrize("command", ["demo", "test"])
def test_an_old_python_gets_one_line(command):
    code = (
        "import runpy, sys; sys.version_info = (3, 8, 18, 'final', 0);"
        f"sys.argv = ['aivj_assets', {command!r}, '--k', '3'];"
        f"runpy.run_path({str(PACKAGE / '__main__.py')!r}, run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Python 3.8 is too old: aivj-assets needs Python 3.11 or newer")
    assert line.endswith(f"-m aivj_assets {command} --k 3")


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_what_an_old_python_reads_is_syntax_it_knows(name):
    ast.parse((PACKAGE / name).read_text(encoding="utf-8"), feature_version=(3, 7))


def test_set_up_needs_nothing_but_the_standard_library():
    """-S -I: no site-packages, as on a machine where nothing was installed yet."""
    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import aivj_assets.bootstrap"
    subprocess.run([sys.executable, "-S", "-I", "-c", code], check=True, timeout=60)


def test_a_package_outside_a_checkout_is_refused(tmp_path):
    with pytest.raises(SetupError, match="run this from a clone"):
        bootstrap.find_project(tmp_path / "aivj_assets")


# --- the environment ----------------------------------------------------------------------------------------------


def test_paths_of_the_environment_on_each_platform(tmp_path):
    assert Project(tmp_path, windows=True).python == tmp_path / ".venv" / "Scripts" / "python.exe"
    assert Project(tmp_path, windows=False).python == tmp_path / ".venv" / "bin" / "python"
    for windows, place in ((True, "Lib/site-packages"), (False, "lib/python3.12/site-packages")):
        root = tmp_path / str(windows)
        (root / ".venv" / place).mkdir(parents=True)
        assert bootstrap.site_packages(Project(root, windows=windows)) == [root / ".venv" / place]


def test_a_broken_environment_is_made_anew(tmp_path, capsys):
    """A real one, whose Python was removed from under it."""
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    project = Project(tmp_path)
    project.python.parent.mkdir(parents=True)
    project.python.write_text("gone", encoding="utf-8")
    state = bootstrap.ensure_venv(project, {"offline"})
    assert tuple(state["version"]) == sys.version_info[:3]
    assert state["pip"] is True
    assert state["missing"] == ["aivj-assets"]
    assert "making .venv anew (its Python does not start)" in capsys.readouterr().out


def test_the_debian_package_is_named_where_venv_is_missing(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with pytest.raises(SetupError, match=f"sudo apt-get install python{version}-venv"):
        bootstrap.ensure_venv(Project(tmp_path), set())


def test_too_little_disk_is_told_with_both_numbers(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1_500_000_000))
    needed = pip_install.FRESH_INSTALL_BYTES // 10**9
    with pytest.raises(SetupError, match=rf"1\.5 GB free, {needed} GB needed"):
        bootstrap.ensure_venv(Project(tmp_path), set())
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ((3, 10, 2), "Python 3.10, but aivj-assets needs 3.11 to 3.13"),
        ((3, 14, 0), "Python 3.14, but aivj-assets needs 3.11 to 3.13"),
        ((3, 13, 9), None),
        ((3, 11, 0), None),
    ],
)
def test_a_python_outside_the_tested_range_is_refused(version, reason):
    limit = bootstrap.newest_python('[project]\nrequires-python = ">=3.11,<3.14"\n')
    assert bootstrap.unfit_python(version, limit) == reason


def test_an_environment_of_another_python_is_left_to_the_user(project, monkeypatch):
    monkeypatch.setattr(bootstrap, "probe", lambda _project, _extras: STATE | {"version": [3, 9, 1]})
    with pytest.raises(SetupError, match=r"\.venv holds Python 3\.9.*delete the folder"):
        bootstrap.ensure_venv(project, set())
    assert project.venv.is_dir()


# --- the stamp ----------------------------------------------------------------------------------------------------


def test_pip_runs_once_and_the_demo_is_content_with_the_tests_installation(project, pip):
    assert bootstrap.ensure_installed(project, {"offline", "dev"}, STATE) is True
    assert bootstrap.ensure_installed(project, {"offline", "dev"}, STATE) is False
    assert bootstrap.ensure_installed(project, {"offline"}, STATE) is False
    assert [command[-1] for command in pip.commands] == [f"{project.root}[dev,offline]"]


def test_a_further_extra_is_added_to_those_that_are_there(project, pip):
    bootstrap.ensure_installed(project, {"offline"}, STATE)
    bootstrap.ensure_installed(project, {"offline", "dev"}, STATE)
    assert pip.commands[-1][-1].endswith("[dev,offline]")
    bootstrap.ensure_installed(project, {"offline", "node"}, STATE)
    assert pip.commands[-1][-1].endswith("[dev,node,offline]")


@pytest.mark.parametrize("change", ["pyproject", "python", "moved", "stamp", "package"])
def test_pip_runs_again_when_something_changed(project, pip, change):
    bootstrap.ensure_installed(project, {"offline"}, STATE)
    state = STATE
    if change == "pyproject":
        project.pyproject.write_text("# other dependencies\n", encoding="utf-8")
    elif change == "python":
        state = STATE | {"version": [3, 12, 5]}
    elif change == "moved":
        moved = project.root.with_name(project.root.name + "-moved")
        project.root.rename(moved)
        project = Project(moved, windows=False)
    elif change == "stamp":
        (project.venv / "aivj-install.json").write_text("{torn", encoding="utf-8")
    else:
        state = STATE | {"missing": ["dagster"]}
    assert bootstrap.ensure_installed(project, {"offline"}, state) is True
    assert len(pip.commands) == 2


@pytest.mark.parametrize("error", [SetupError("no network"), KeyboardInterrupt()])
def test_an_installation_that_breaks_off_leaves_no_stamp(project, pip, error):
    bootstrap.ensure_installed(project, {"offline"}, STATE)

    def fail():
        raise error

    pip.outcome = fail
    with pytest.raises(type(error)):
        bootstrap.ensure_installed(project, {"offline", "dev"}, STATE)
    pip.outcome = lambda: None
    assert bootstrap.ensure_installed(project, {"offline"}, STATE) is True


def test_an_installation_that_lacks_packages_is_not_stamped(project, pip):
    pip.after = STATE | {"missing": ["torch"]}
    with pytest.raises(SetupError, match=r"\.venv lacks torch"):
        bootstrap.ensure_installed(project, {"offline"}, STATE)
    assert Stamp.read(project.venv / "aivj-install.json") is None


def test_packages_whose_unpacking_broke_off_are_unpacked_again(project, pip):
    (site,) = bootstrap.site_packages(project)
    for name, files in (("whole-1.0", ["METADATA", "RECORD"]), ("torn-2.0", ["METADATA"])):
        folder = site / f"{name}.dist-info"
        folder.mkdir()
        for file in files:
            (folder / file).touch()
    bootstrap.ensure_installed(project, {"offline"}, STATE)
    assert [folder.name for folder in site.glob("*.dist-info")] == ["whole-1.0.dist-info"]


def test_the_probe_knows_what_this_environment_lacks(tmp_path):
    """Against the real environment that runs the tests: complete for its extras, and it notices an unknown one."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("not run in a virtual environment")
    project = Project(Path(sys.prefix).parent)
    if project.venv != Path(sys.prefix):
        pytest.skip("the environment is not called .venv")
    state = bootstrap.probe(project, {"dev"})
    assert state is not None
    assert tuple(state["version"]) == sys.version_info[:3]
    assert "pytest" not in state["missing"]


@pytest.mark.parametrize(("found", "extras"), [(True, {"offline"}), (False, {"node", "offline"})])
def test_node_comes_as_a_wheel_only_where_it_is_missing(project, monkeypatch, found, extras):
    asked = []
    monkeypatch.setattr(bootstrap, "has_node", lambda _environ: found)
    monkeypatch.setattr(bootstrap, "ensure_venv", lambda _project, wanted: asked.append(set(wanted)) or STATE)
    monkeypatch.setattr(
        bootstrap, "ensure_installed", lambda _project, wanted, _state: asked.append(set(wanted)) or True
    )
    commands = []
    monkeypatch.setattr(bootstrap, "run_child", lambda command, _project: commands.append(command) or 0)
    assert bootstrap.set_up(project, "demo", {}) == 0
    assert asked == [extras, extras]
    assert commands == [[str(project.python), "-m", "aivj_assets.cli", "setup"]]


def test_an_old_node_counts_as_none(tmp_path):
    if os.name == "nt":
        pytest.skip("fakes programs with shell scripts")
    for name in ("node", "npm"):
        path = tmp_path / name
        path.write_text("#!/bin/sh\necho v16.20.2\n", encoding="utf-8")
        path.chmod(0o755)
    assert bootstrap.has_node({"PATH": str(tmp_path)}) is False
    (tmp_path / "node").write_text("#!/bin/sh\necho v18.0.0\n", encoding="utf-8")
    assert bootstrap.has_node({"PATH": str(tmp_path)}) is True
    assert bootstrap.has_node({"PATH": str(tmp_path / "none")}) is False


# --- pip ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            "WARNING: Retrying ... NewConnectionError(...)\nERROR: No matching distribution found for torch",
            "No network",
        ),
        ("ERROR: Could not install: [Errno 28] No space left on device", "The disk is full"),
        (
            "ERROR: No matching distribution found for torch<2.15,>=2.9",
            "no build of torch for Python 3.13.1",
        ),
        (
            "WARNING: Retrying (Retry(total=4)) after 'ReadTimeoutError(...)'\n"
            + "Collecting numpy\n" * 9
            + "ERROR: Could not find a version that satisfies the requirement torch==2.9 (from versions: none)\n"
            "ERROR: No matching distribution found for torch==2.9\n",
            "no build of torch for",
        ),
        (
            "ERROR: No matching distribution found for setuptools>=77\nWARNING: ... 'NameResolutionError(...)'\n",
            "No network",
        ),
        ("SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))", "PIP_CERT"),
        ("OSError: [WinError 206] The filename or extension is too long", "too long for Windows"),
        ("ERROR: [WinError 5] Access is denied", "may not write to .venv"),
        ("ERROR: ResolutionImpossible: see the docs", "pip failed: ERROR: ResolutionImpossible"),
    ],
)
def test_pip_failures_are_one_line_with_a_way_out(output, expected):
    text = pip_install.explain_pip_failure(output, "3.13.1")
    assert expected in text
    assert "\n" not in text


def test_a_failing_pip_shows_its_last_lines_and_keeps_the_log(tmp_path, capsys):
    code = "print('Collecting torch'); print('ERROR: getaddrinfo failed'); raise SystemExit(1)"
    log = tmp_path / "log" / "pip.log"
    with pytest.raises(SetupError, match="No network"):
        pip_install.run_pip([sys.executable, "-c", code], log=log, env=dict(os.environ), python="3.12.0")
    assert "getaddrinfo failed" in capsys.readouterr().out
    assert "Collecting torch" in log.read_text(encoding="utf-8")


def test_progress_names_package_size_and_count():
    progress = PipProgress()
    progress.feed("Collecting torch<2.15,>=2.9 (from aivj-assets==0.1.0)\n")
    progress.feed("  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (915.6 MB)\n")
    assert (progress.status, progress.loud) == ("downloading torch 2.14.1 (915.6 MB), 1 packages so far", True)
    progress.feed("Collecting open-clip-torch\n")
    progress.feed("  Using cached open_clip_torch-3.3.0-py3-none-any.whl (1.5 MB)\n")
    assert (progress.status, progress.loud) == ("taking open_clip_torch 3.3.0 (1.5 MB), 2 packages so far", False)
    progress.feed("Installing collected packages: a, b, c\n")
    assert (progress.status, progress.loud) == ("unpacking 3 packages", True)


def test_downloads_go_beside_the_environment_when_the_temporary_disk_is_small(tmp_path, monkeypatch):
    usual, own = tmp_path / "small", tmp_path / "own"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**8 if path == usual else 10**11))
    env = pip_install.pip_environment({"PIP_REQUIRE_VIRTUALENV": "1", "PIP_USER": "1"}, own, usual)
    assert env["TMPDIR"] == env["TEMP"] == str(own)
    assert own.is_dir()
    assert pip_install.pip_environment({"pythonpath": "x", "PIP_TARGET": "x"}, own, usual).keys() == env.keys()
    assert env["PIP_USER"] == "0"  # a user's setting that would make pip refuse a .venv
    assert "TMPDIR" not in pip_install.pip_environment({}, own, tmp_path)


def test_a_second_set_up_waits_for_the_first(tmp_path):
    lock = tmp_path / "deep" / "setup.lock"
    code = (
        "import sys, time; from pathlib import Path; from aivj_assets.pip_install import exclusive\n"
        "with exclusive(Path(sys.argv[1])): print('mine', time.time(), flush=True)"
    )
    with pip_install.exclusive(lock):
        other = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert "another set-up is at work" in other.stdout.readline()
        released = time.time()
    output, _ = other.communicate(timeout=30)
    assert float(output.split()[1]) >= released


def test_windows_locks_a_byte_of_the_file(tmp_path, monkeypatch):
    calls = []
    msvcrt = ModuleType("msvcrt")
    msvcrt.LK_NBLCK = 2
    msvcrt.locking = lambda _fd, mode, count: calls.append((mode, count))
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    monkeypatch.setattr(pip_install, "sys", SimpleNamespace(platform="win32"))
    with (tmp_path / "lock").open("a+b") as file:
        assert pip_install._try_lock(file) is True
        msvcrt.locking = lambda *_: (_ for _ in ()).throw(PermissionError(13, "locked"))
        assert pip_install._try_lock(file) is False
    assert calls == [(2, 1)]


# --- running ------------------------------------------------------------------------------------------------------


def test_exit_statuses_are_passed_on(project):
    assert bootstrap.run_child([sys.executable, "-c", "raise SystemExit(7)"], project) == 7
    assert bootstrap.run_child([sys.executable, "-c", ""], project) == 0


@posix_only
def test_a_child_that_a_signal_ended_gives_128_plus_its_number(project):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert bootstrap.run_child([sys.executable, "-c", code], project) == 137


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_parent_alone_ends_the_child_in_its_own_way(tmp_path, number):
    child = (
        "import signal, sys, time\n"
        "for s in (2, 15): signal.signal(s, lambda n, f: sys.exit(40 + n))\n"
        "print('up', flush=True); time.sleep(30)"
    )
    code = (
        "import sys; from pathlib import Path; from aivj_assets.bootstrap import Project, run_child\n"
        f"sys.exit(run_child([sys.executable, '-c', {child!r}], Project(Path({str(tmp_path)!r}))))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    parent.send_signal(number)
    assert parent.wait(timeout=20) == 40 + number


def test_the_child_runs_as_in_an_activated_environment(project, monkeypatch):
    foreign = {"PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}
    for name in foreign:
        monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "http://index.invalid")
    env = bootstrap.child_environment(project)
    assert env["PATH"].split(os.pathsep)[0] == str(project.scripts)
    assert env["VIRTUAL_ENV"] == str(project.venv)
    assert not foreign & set(env)
    assert env["PIP_INDEX_URL"] == "http://index.invalid"


def test_demo_options_pass_through_untouched(project, monkeypatch):
    seen = []
    monkeypatch.setattr(bootstrap, "hand_over", lambda command, _project, cwd=None: seen.append((command, cwd)) or 5)
    assert bootstrap.run_demo(project, ["--root", "a b", "--k", "3"]) == 5
    assert seen == [([str(project.python), "-m", "aivj_assets.cli", "demo", "--root", "a b", "--k", "3"], None)]


@pytest.mark.parametrize(("failing", "status"), [(None, 0), ("mypy", 1), ("tests beside each other", 1)])
def test_linters_and_both_halves_of_the_tests_count(project, monkeypatch, capsys, failing, status):
    ran = []

    def child(command, *_):
        ran.append(command[-1])
        return int(failing == "tests beside each other" and "not alone" in command)

    monkeypatch.setattr(bootstrap, "passes", lambda name, _command, _project: ran.append(name) or name != failing)
    monkeypatch.setattr(bootstrap, "hand_over", lambda command, *_: ran.append(command[-1]) or 0)
    monkeypatch.setattr(bootstrap, "run_child", child)
    assert bootstrap.run_tests(project, []) == status
    halves = ["aivj_assets_tests/unit", "aivj_assets_tests/integration"]
    assert ran == ["ruff check", "ruff format", "mypy", *halves]
    assert (f"failed before the tests that run alone: {failing}" in capsys.readouterr().err) is (failing is not None)


def test_no_test_that_wants_to_be_alone_is_left_out(project, monkeypatch):
    ran = []
    monkeypatch.setattr(bootstrap, "passes", lambda *_: True)
    monkeypatch.setattr(bootstrap, "run_child", lambda *_: 0)
    monkeypatch.setattr(bootstrap, "hand_over", lambda command, *_: ran.extend(command) or 0)
    assert bootstrap.run_tests(project, []) == 0
    root = project_root()
    marked = [
        path.relative_to(root).as_posix()
        for path in (root / "aivj_assets_tests").rglob("test_*.py")
        if re.search(r"pytest\.mark\.alone\b", path.read_text(encoding="utf-8"))
    ]
    assert marked
    assert [path for path in marked if not path.startswith(tuple(ran))] == []


@pytest.mark.parametrize("status", [2, 130])
def test_ctrl_c_in_the_first_half_ends_the_whole(project, monkeypatch, status):
    ran = []
    monkeypatch.setattr(bootstrap, "passes", lambda *_: True)
    monkeypatch.setattr(bootstrap, "hand_over", lambda *_: pytest.fail("went on"))
    monkeypatch.setattr(bootstrap, "run_child", lambda command, *_: ran.append(command) or status)
    assert bootstrap.run_tests(project, []) == status
    assert len(ran) == 1


def test_with_pytest_arguments_only_pytest_runs(project, monkeypatch):
    commands = []
    monkeypatch.setattr(
        bootstrap, "hand_over", lambda command, _project, cwd=None: commands.append((command, cwd)) or 3
    )
    assert bootstrap.run_tests(project, ["-k", "stamp"]) == 3
    assert commands == [([str(project.python), "-m", "pytest", "-k", "stamp"], project.root)]


def test_a_failing_check_shows_its_output(project, capsys):
    code = "print('aivj.py:1: wrong'); raise SystemExit(1)"
    assert bootstrap.passes("mypy", [sys.executable, "-c", code], project) is False
    out = capsys.readouterr().out
    assert "aivj.py:1: wrong" in out
    assert "mypy: FAILED" in out
