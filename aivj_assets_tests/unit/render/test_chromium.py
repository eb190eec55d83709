"""Which browser is chosen, with which flags, and how a renderer string is read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.render.chromium import (
    NoBrowserError,
    accepts,
    classify_renderer,
    find_chromium,
    how_to_get_a_browser,
    launch_environment,
    launch_flags,
)

PLATFORM_FOLDERS = {
    "linux": "chrome-linux64/chrome",
    "win32": "chrome-win64/chrome.exe",
    "darwin": "chrome-mac-arm64/Google Chrome for Testing.app/Contents/MacOS/Google Chrome for Testing",
}


def nothing_on_path(_name, path=None):
    return None


def make_driver(folder: Path, revision: str = "1255") -> Path:
    folder.mkdir(parents=True)
    browsers = [{"name": "ffmpeg", "revision": "7"}, {"name": "chromium", "revision": revision}]
    (folder / "browsers.json").write_text(json.dumps({"browsers": browsers}), encoding="utf-8")
    return folder


def make_playwright_chromium(browsers: Path, platform: str, *, complete: bool = True, revision: str = "1255") -> Path:
    executable = browsers / f"chromium-{revision}" / PLATFORM_FOLDERS[platform]
    executable.parent.mkdir(parents=True)
    executable.touch()
    if complete:
        (browsers / f"chromium-{revision}" / "INSTALLATION_COMPLETE").touch()
    return executable


def test_the_named_browser_wins_over_every_other(tmp_path):
    named = tmp_path / "my chrome"
    named.touch()
    driver = make_driver(tmp_path / "driver")
    make_playwright_chromium(tmp_path / "browsers", "linux")
    environ = {"AIVJ_CHROMIUM": str(named), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "browsers")}
    choice = find_chromium(environ, platform="linux", driver_dir=driver, which=lambda *_a, **_k: "/usr/bin/chromium")
    assert (choice.executable, choice.source) == (named, "environment")


def test_a_named_browser_that_does_not_exist_is_an_error_and_never_replaced():
    with pytest.raises(UserError, match=r"AIVJ_CHROMIUM is '/no/such/chrome', which is no file") as raised:
        find_chromium(
            {"AIVJ_CHROMIUM": "/no/such/chrome"}, platform="linux", which=lambda *_a, **_k: "/usr/bin/chromium"
        )
    assert not isinstance(raised.value, NoBrowserError)  # provisioning must not install another one
    assert "\n" not in str(raised.value)


def test_a_named_command_is_looked_up_on_path():
    which = {"google-chrome-beta": "/opt/beta/chrome"}
    choice = find_chromium(
        {"AIVJ_CHROMIUM": "google-chrome-beta"}, platform="linux", which=lambda name, path=None: which.get(name)
    )
    assert choice.executable == Path("/opt/beta/chrome")


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_playwrights_own_chromium_is_found_in_its_default_place(tmp_path, platform):
    cache = {"linux": ".cache", "darwin": "Library/Caches", "win32": "AppData/Local"}[platform]
    executable = make_playwright_chromium(tmp_path / cache / "ms-playwright", platform)
    environ = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    choice = find_chromium(
        environ, platform=platform, driver_dir=make_driver(tmp_path / "driver"), which=nothing_on_path
    )
    assert (choice.executable, choice.source, choice.name) == (executable, "playwright", "Chromium")


@pytest.mark.parametrize(("complete", "revision"), [(False, "1255"), (True, "1000")])
def test_a_broken_off_or_outdated_download_of_playwright_does_not_count(tmp_path, complete, revision):
    make_playwright_chromium(tmp_path, "linux", complete=complete, revision=revision)
    with pytest.raises(NoBrowserError):
        find_chromium(
            {"PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)},
            platform="linux",
            driver_dir=make_driver(tmp_path / "driver"),
            which=nothing_on_path,
        )


def test_browsers_beside_the_driver_are_found_when_playwright_is_told_so(tmp_path):
    driver = make_driver(tmp_path / "driver")
    executable = make_playwright_chromium(driver / ".local-browsers", "linux")
    choice = find_chromium(
        {"PLAYWRIGHT_BROWSERS_PATH": "0"}, platform="linux", driver_dir=driver, which=nothing_on_path
    )
    assert choice.executable == executable


def test_the_computed_place_is_the_one_that_playwright_itself_would_use(tmp_path):
    """Playwright's rules are repeated here for speed: its own answer must agree."""
    code = "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path)"
    environ = {"PLAYWRIGHT_BROWSERS_PATH": str(tmp_path), "PATH": "/usr/bin", "HOME": str(tmp_path)}
    if sys.platform == "win32":
        environ["SYSTEMROOT"] = "C:\\Windows"
    answer = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    theirs = Path(answer.stdout.strip())
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    (tmp_path / theirs.relative_to(tmp_path).parts[0] / "INSTALLATION_COMPLETE").touch()
    assert find_chromium(environ, platform=sys.platform, which=nothing_on_path).executable == theirs


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ({"google-chrome", "chromium", "microsoft-edge"}, "chromium"),
        ({"google-chrome", "microsoft-edge"}, "google-chrome"),
        ({"microsoft-edge"}, "microsoft-edge"),
    ],
)
def test_linux_takes_the_first_browser_on_path(present, expected):
    choice = find_chromium(
        {"PATH": "/bin"},
        platform="linux",
        which=lambda name, path=None: f"/bin/{name}" if name in present else None,
        is_file=lambda _path: True,
        driver_dir=Path("/nowhere"),
    )
    assert choice.executable == Path("/bin", expected)


@pytest.mark.parametrize(
    ("base", "place", "name"),
    [
        ("ProgramFiles", "Google/Chrome/Application/chrome.exe", "Chrome"),
        ("ProgramFiles(x86)", "Microsoft/Edge/Application/msedge.exe", "Edge"),
        ("LocalAppData", "Google/Chrome/Application/chrome.exe", "Chrome"),
    ],
)
def test_windows_install_places_are_found_whatever_the_case_of_the_variable(tmp_path, base, place, name):
    executable = tmp_path / place
    executable.parent.mkdir(parents=True)
    executable.touch()
    choice = find_chromium(
        {base: str(tmp_path)}, platform="win32", which=nothing_on_path, driver_dir=tmp_path / "driver"
    )
    assert (choice.executable, choice.source, choice.name) == (executable, "system", name)


def test_macos_applications_are_found_in_the_home_folder(tmp_path):
    executable = tmp_path / "Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge"
    executable.parent.mkdir(parents=True)
    executable.touch()
    choice = find_chromium(
        {"HOME": str(tmp_path)}, platform="darwin", which=nothing_on_path, driver_dir=tmp_path / "driver"
    )
    assert choice.executable == executable


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_without_a_browser_one_line_names_the_ways_out(platform):
    with pytest.raises(NoBrowserError) as raised:
        find_chromium(
            {}, platform=platform, which=nothing_on_path, driver_dir=Path("/nowhere"), is_file=lambda _p: False
        )
    text = str(raised.value)
    assert "\n" not in text
    assert "AIVJ_CHROMIUM" in text
    python = r".venv\Scripts\python" if platform == "win32" else ".venv/bin/python"
    assert f"`{python} -m playwright install" in text
    assert ("apt-get install chromium" in text) == (platform == "linux")
    assert how_to_get_a_browser(platform) in text


@pytest.mark.parametrize(
    ("platform", "renderer", "backends"),
    [
        ("linux", "auto", ["gl-egl", "swiftshader"]),
        ("linux", "gpu", ["vulkan", "gl-egl"]),
        ("linux", "software", ["gl-egl", "swiftshader"]),
        ("win32", "auto", ["d3d11", "swiftshader"]),
        ("win32", "gpu", ["d3d11"]),
        ("win32", "software", ["swiftshader"]),
        ("darwin", "auto", ["metal", "swiftshader"]),
        ("darwin", "gpu", ["metal"]),
        ("darwin", "software", ["swiftshader"]),
    ],
)
def test_backends_are_tried_in_order(platform, renderer, backends):
    candidates = launch_flags(platform, renderer, headless=True, is_root=False)
    angle = [flag.partition("=")[2] for flags in candidates for flag in flags if flag.startswith("--use-angle=")]
    assert angle == backends


def test_only_swiftshader_itself_may_use_the_software_rasterizer():
    """Another backend that fails must end in no WebGL, not in SwiftShader's pixels under its name."""
    for platform in ("linux", "win32", "darwin"):
        for renderer in ("auto", "gpu", "software"):
            for flags in launch_flags(platform, renderer, headless=True, is_root=False):
                assert ("--disable-software-rasterizer" in flags) != ("--use-angle=swiftshader" in flags)


@pytest.mark.parametrize(
    ("platform", "is_root", "expected"),
    [
        ("linux", True, True),
        ("linux", False, False),
        ("darwin", True, True),
        ("win32", True, False),
        ("win32", False, False),
    ],
)
def test_the_sandbox_is_given_up_for_root_only(platform, is_root, expected):
    for flags in launch_flags(platform, "auto", headless=True, is_root=is_root):
        assert ("--no-sandbox" in flags) is expected


def test_playwrights_list_of_disabled_features_is_left_alone():
    flags = [flag for flags in launch_flags("linux", "gpu", headless=False, is_root=False) for flag in flags]
    assert not [flag for flag in flags if flag.startswith("--disable-features")]
    assert "--hide-scrollbars" not in flags


def test_software_on_linux_keeps_mesa_off_the_gpu():
    assert launch_environment("linux", "software") == {"LIBGL_ALWAYS_SOFTWARE": "1", "LP_NUM_THREADS": "0"}
    assert launch_environment("linux", "auto") == {"LP_NUM_THREADS": "0"}
    assert launch_environment("win32", "software") == {}


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_a_browser_is_told_its_features_once(platform):
    # Chromium reads the last `--enable-features` and forgets the others.
    for flags in launch_flags(platform, "auto", headless=True, is_root=False):
        told = [flag for flag in flags if flag.startswith("--enable-features=")]
        assert len(told) == 1
        assert "PartitionAllocLargeEmptySlotSpanRing" in told[0]
        assert ("Vulkan" in told[0]) == ("--use-angle=vulkan" in flags)


@pytest.mark.parametrize(
    ("unmasked", "kind"),
    [
        ("ANGLE (Mesa/X.org, llvmpipe (LLVM 15.0.6 256 bits), OpenGL ES 3.2)", "llvmpipe"),
        ("ANGLE (Google, Vulkan 1.3.0 (SwiftShader Device (Subzero) (0x0000C0DE)), SwiftShader driver)", "swiftshader"),
        ("ANGLE (Microsoft, Microsoft Basic Render Driver Direct3D11 vs_5_0 ps_5_0, D3D11)", "software"),
        ("ANGLE (Mesa, softpipe, OpenGL 3.3)", "software"),
        ("Apple Software Renderer", "software"),
        ("", "software"),
        ("ANGLE (NVIDIA, NVIDIA GeForce RTX 4070 Direct3D11 vs_5_0 ps_5_0, D3D11)", "gpu"),
        ("ANGLE (Apple, ANGLE Metal Renderer: Apple M2 Pro, Unspecified Version)", "gpu"),
        ("ANGLE (Intel, Mesa Intel(R) UHD Graphics 620 (KBL GT2), OpenGL ES 3.2)", "gpu"),
    ],
)
def test_renderer_strings_are_classified(unmasked, kind):
    assert classify_renderer(unmasked) == kind


def test_a_renderer_that_is_not_what_was_asked_for_is_refused():
    llvmpipe, nvidia = "ANGLE (Mesa, llvmpipe (LLVM 15))", "ANGLE (NVIDIA, RTX 4070, D3D11)"
    assert accepts("auto", llvmpipe)
    assert accepts("auto", nvidia)
    assert not accepts("auto", None)
    assert not accepts("gpu", llvmpipe)
    assert accepts("gpu", nvidia)
    assert accepts("software", llvmpipe)
    assert not accepts("software", nvidia)
