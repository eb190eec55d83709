"""Which Chromium renders, with which flags, and what its WebGL renderer string means.

Nothing here starts a browser: a choice is made from the environment and from what lies on disk. The sandbox is
Playwright's switch (`chromium_sandbox=`): it is off by default there, so whoever launches passes `not is_root`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aivj_assets.errors import UserError

BROWSER_VARIABLE = "AIVJ_CHROMIUM"

RendererMode = Literal["auto", "gpu", "software"]
RendererKind = Literal["gpu", "llvmpipe", "swiftshader", "software"]

_LINUX_COMMANDS = (
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
    "microsoft-edge-stable",
    "microsoft-edge",
)
# Below Program Files, Program Files (x86) and LocalAppData.
_WINDOWS_PLACES = (
    Path("Google", "Chrome", "Application", "chrome.exe"),
    Path("Chromium", "Application", "chrome.exe"),
    Path("Microsoft", "Edge", "Application", "msedge.exe"),
)
_WINDOWS_BASES = ("PROGRAMFILES", "PROGRAMW6432", "PROGRAMFILES(X86)", "LOCALAPPDATA")
# Below /Applications and ~/Applications.
_MACOS_PLACES = (
    Path("Google Chrome.app", "Contents", "MacOS", "Google Chrome"),
    Path("Chromium.app", "Contents", "MacOS", "Chromium"),
    Path("Microsoft Edge.app", "Contents", "MacOS", "Microsoft Edge"),
)
# Playwright's folder for the platform: chrome-linux (older), chrome-linux64, chrome-win64, chrome-mac-arm64, ...
_PLAYWRIGHT_PATTERNS = {
    "linux": ("chrome-linux*/chrome",),
    "win32": ("chrome-win*/chrome.exe",),
    "darwin": (
        "chrome-mac*/Google Chrome for Testing.app/Contents/MacOS/Google Chrome for Testing",
        "chrome-mac*/Chromium.app/Contents/MacOS/Chromium",
    ),
}

# No traffic of the browser's own, no throttling of a page that nobody looks at. `--disable-features` is left to
# Playwright: a second one would replace its list.
_QUIET_FLAGS = (
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-quic",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
)
# Chromium's allocator gives memory back to the system and takes it again for every frame's geometry: a tenth of the GPU
# process's time on a software renderer. Only one `--enable-features` counts, so every candidate brings the whole list.
_FEATURES = ("PartitionAllocLargeEmptySlotSpanRing",)
_SWIFTSHADER = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
# Without the second flag Chromium gives SwiftShader's WebGL in place of a backend that failed, at the start or after
# the GPU process crashed in mid-run: other pixels, and nobody told. With it there is no WebGL instead.
_NO_FALLBACK = ("--ignore-gpu-blocklist", "--disable-software-rasterizer")
# Hardware EGL where there is one, else Mesa's llvmpipe; needs no display. `--use-angle=gl` would.
_GL_EGL = ("--use-gl=angle", "--use-angle=gl-egl", *_NO_FALLBACK)
_VULKAN_FEATURE = "--enable-features=Vulkan"
_VULKAN = (
    "--use-gl=angle",
    "--use-angle=vulkan",
    _VULKAN_FEATURE,
    "--disable-vulkan-surface",
    *_NO_FALLBACK,
)
_D3D11 = ("--use-gl=angle", "--use-angle=d3d11", "--enable-gpu", *_NO_FALLBACK)
_METAL = ("--use-gl=angle", "--use-angle=metal", *_NO_FALLBACK)


class NoBrowserError(UserError):
    """No Chromium, Chrome or Edge was found."""


@dataclass(frozen=True)
class BrowserChoice:
    """A browser's executable and where the choice came from."""

    executable: Path
    source: Literal["environment", "playwright", "system"]

    @property
    def name(self) -> str:
        """`Chrome`, `Edge` or `Chromium`, told from the path."""
        text = str(self.executable).lower()
        if "edge" in text:
            return "Edge"
        return "Chrome" if "google" in text and "testing" not in text else "Chromium"


def find_chromium(
    environ: Mapping[str, str],
    *,
    platform: str,
    which: Callable[..., str | None] = shutil.which,
    is_file: Callable[[Path], bool] = Path.is_file,
    driver_dir: Path | None = None,
) -> BrowserChoice:
    """Return the browser to render with: AIVJ_CHROMIUM, else Playwright's own Chromium, else a system browser.

    `platform` is a `sys.platform` value; `driver_dir` is Playwright's driver package (default: the installed one).
    Raises `UserError` when AIVJ_CHROMIUM names no file, and `NoBrowserError` when there is no browser at all.
    """
    named = environ.get(BROWSER_VARIABLE, "").strip()
    if named:
        return _named_browser(named, environ, which, is_file)
    own = _playwright_chromium(environ, platform, driver_dir or _playwright_driver_dir(), is_file)
    if own is not None:
        return BrowserChoice(own, "playwright")
    for candidate in _system_browsers(environ, platform, which):
        if is_file(candidate):
            return BrowserChoice(candidate, "system")
    raise NoBrowserError(f"No browser was found to render with: {how_to_get_a_browser(platform)}.")


def how_to_get_a_browser(platform: str) -> str:
    """Return the user's choices as one clause, for a sentence's end."""
    install = f"run `{playwright_command(platform)} install"
    if platform == "win32":
        return f"install Chrome or Edge, {install} chromium`, or set {BROWSER_VARIABLE} to a Chromium's .exe"
    if platform == "darwin":
        return f"install Chrome, {install} chromium`, or set {BROWSER_VARIABLE} to a Chromium's executable"
    return (
        "install Chromium (Debian: `sudo apt-get install chromium libegl1 libgl1-mesa-dri`), Chrome or Edge, "
        f"{install} --with-deps chromium`, or set {BROWSER_VARIABLE} to a Chromium's executable"
    )


def playwright_command(platform: str) -> str:
    """Return Playwright's command as a user types it in the project's folder: it is not on the PATH."""
    python = r".venv\Scripts\python" if platform == "win32" else ".venv/bin/python"
    return f"{python} -m playwright"


def _named_browser(
    named: str, environ: Mapping[str, str], which: Callable[..., str | None], is_file: Callable[[Path], bool]
) -> BrowserChoice:
    path = Path(named).expanduser()
    if is_file(path):
        return BrowserChoice(path, "environment")
    # A bare command name is looked up; a path that does not exist is a mistake and never replaced by another browser.
    found = which(named, path=environ.get("PATH")) if path.name == named else None
    if found is None:
        raise UserError(
            f"{BROWSER_VARIABLE} is '{named}', which is no file: correct it, or unset it to use another browser."
        )
    return BrowserChoice(Path(found), "environment")


def _playwright_driver_dir() -> Path | None:
    spec = importlib.util.find_spec("playwright")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "driver" / "package"


def playwright_browsers_dir(environ: Mapping[str, str], platform: str, driver_dir: Path | None) -> Path | None:
    """Return the folder in which Playwright keeps its browsers (its own rules, PLAYWRIGHT_BROWSERS_PATH included)."""
    named = environ.get("PLAYWRIGHT_BROWSERS_PATH", "")
    if named == "0":
        return driver_dir / ".local-browsers" if driver_dir else None
    if named:
        return Path(named)
    home = environ.get("USERPROFILE" if platform == "win32" else "HOME", "")
    if platform == "win32":
        cache = environ.get("LOCALAPPDATA") or (home and os.path.join(home, "AppData", "Local"))  # noqa: PTH118
    elif platform == "darwin":
        cache = home and os.path.join(home, "Library", "Caches")  # noqa: PTH118
    else:
        cache = environ.get("XDG_CACHE_HOME") or (home and os.path.join(home, ".cache"))  # noqa: PTH118
    return Path(cache) / "ms-playwright" if cache else None


def _playwright_chromium(
    environ: Mapping[str, str], platform: str, driver_dir: Path | None, is_file: Callable[[Path], bool]
) -> Path | None:
    """Return the Chromium that belongs to the installed Playwright, read from its registry: its API needs 0.6 s."""
    browsers_dir = playwright_browsers_dir(environ, platform, driver_dir)
    if driver_dir is None or browsers_dir is None:
        return None
    try:
        registry = json.loads((driver_dir / "browsers.json").read_text(encoding="utf-8"))
        revision = next(browser["revision"] for browser in registry["browsers"] if browser["name"] == "chromium")
    except (OSError, ValueError, KeyError, StopIteration):
        return None
    folder = browsers_dir / f"chromium-{revision}"
    # Playwright writes this file last: a download that broke off has none.
    if not is_file(folder / "INSTALLATION_COMPLETE"):
        return None
    for pattern in _PLAYWRIGHT_PATTERNS.get(platform, _PLAYWRIGHT_PATTERNS["linux"]):
        for executable in sorted(folder.glob(pattern)):
            return executable
    return None


def _system_browsers(environ: Mapping[str, str], platform: str, which: Callable[..., str | None]) -> Iterator[Path]:
    if platform == "win32":
        # Windows ignores the case of variable names; a plain mapping does not.
        upper = {name.upper(): value for name, value in environ.items()}
        bases = [Path(upper[base]) for base in _WINDOWS_BASES if upper.get(base)]
        yield from (base / place for place in _WINDOWS_PLACES for base in bases)
    elif platform == "darwin":
        bases = [Path("/Applications")]
        if environ.get("HOME"):
            bases.append(Path(environ["HOME"]) / "Applications")
        yield from (base / place for place in _MACOS_PLACES for base in bases)
    else:
        for command in _LINUX_COMMANDS:
            found = which(command, path=environ.get("PATH"))
            if found is not None:
                yield Path(found)


def launch_flags(platform: str, renderer: RendererMode, *, headless: bool, is_root: bool) -> list[list[str]]:
    """Return candidate sets of Chromium flags in the order to try.

    A candidate that this machine cannot serve starts a browser without WebGL or with another renderer, so whoever
    launches reads UNMASKED_RENDERER_WEBGL, asks `accepts` and goes on to the next candidate. The last candidate is
    SwiftShader unless `renderer` is "gpu". `headless` itself is Playwright's switch, not a flag here.
    """
    common = [*_QUIET_FLAGS]
    if headless:
        common.append("--hide-scrollbars")
    if is_root and platform != "win32":
        common.append("--no-sandbox")  # Chromium's sandbox refuses to run as root
    return [[*common, *_with_features(backend)] for backend in _backends(platform, renderer)]


def _with_features(backend: tuple[str, ...]) -> list[str]:
    names = [*(["Vulkan"] if _VULKAN_FEATURE in backend else []), *_FEATURES]
    return [*(flag for flag in backend if flag != _VULKAN_FEATURE), f"--enable-features={','.join(names)}"]


def _backends(platform: str, renderer: RendererMode) -> list[tuple[str, ...]]:
    hardware: list[tuple[str, ...]]
    if platform == "win32":
        hardware = [_D3D11]
    elif platform == "darwin":
        hardware = [_METAL]
    else:
        hardware = [_VULKAN, _GL_EGL]
    if renderer == "gpu":
        return hardware
    if platform in ("win32", "darwin"):
        return [_SWIFTSHADER] if renderer == "software" else [*hardware, _SWIFTSHADER]
    return [_GL_EGL, _SWIFTSHADER]


def launch_environment(platform: str, renderer: RendererMode) -> dict[str, str]:
    """Return variables to add to the browser's environment on Linux.

    "software" keeps Mesa off a GPU. llvmpipe draws on the GPU process's own thread, without helpers: the browsers
    beside each other fill the cores, and handing pieces of small frames to threads costs an eighth of the time. The
    pixels are the same.
    """
    if platform in ("win32", "darwin"):
        return {}
    threads = {"LP_NUM_THREADS": "0"}
    return {"LIBGL_ALWAYS_SOFTWARE": "1", **threads} if renderer == "software" else threads


def classify_renderer(unmasked: str) -> RendererKind:
    """Tell a WebGL UNMASKED_RENDERER string's kind; an empty one counts as "software": a GPU must show itself."""
    text = unmasked.lower()
    if "swiftshader" in text:
        return "swiftshader"
    if "llvmpipe" in text or "lavapipe" in text:
        return "llvmpipe"
    software = ("softpipe", "swrast", "software", "basic render", "warp", "mesa offscreen")
    if not text.strip() or any(word in text for word in software):
        return "software"
    return "gpu"


def accepts(renderer: RendererMode, unmasked: str | None) -> bool:
    """Tell whether a browser that reports `unmasked` (None: it has no WebGL) may render what `renderer` asks for."""
    if not unmasked:
        return False
    return renderer == "auto" or (classify_renderer(unmasked) == "gpu") == (renderer == "gpu")
