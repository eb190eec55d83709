"""Why a browser did not start, as one line that says what to do."""

from __future__ import annotations

import re

from aivj_assets.render.chromium import how_to_get_a_browser, playwright_command
from aivj_assets.render.environment import RenderEnvironment

_LOG_PREFIX = re.compile(r"^(- )?\[pid=\d+\]\[err\] (\[[^\]]*\] ?)?")


def explain_start_failure(text: str, environment: RenderEnvironment, *, headless: bool) -> str:
    """Return the line; `text` is the driver's report: its error, then the browser's log with `[pid=…][err]` lines."""
    name = str(environment.executable)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if "[err]" in line]
    # The command line, which is part of the report, names sandbox and display too: only what the browser said counts.
    low = "\n".join([*lines[:1], *said]).lower()
    if "no usable sandbox" in low or "suid sandbox" in low:
        return (
            f"{name} cannot use its sandbox: allow unprivileged user namespaces (Ubuntu: `sudo sysctl -w "
            "kernel.apparmor_restrict_unprivileged_userns=0`) or install the distribution's own Chromium package."
        )
    if "shared libraries" in low or "missing dependencies" in low:
        command = f"{playwright_command(environment.platform)} install-deps chromium"
        return f"{name} misses system libraries: run `{command}`, or install Chromium's package."
    if not headless and any(sign in low for sign in ("missing x server", "$display", "ozone", "headed browser")):
        return f"{name} has no display to show itself on: set headless to true."
    if "enospc" in low or "no space left" in low:
        return f"{name} cannot start: the disk of the temporary folder is full; make room and try again."
    if "socket path too long" in low:
        return f"{name} cannot start: the path of the temporary folder is too long; set TMPDIR to a short one."
    fatal = next((line for line in said if "FATAL" in line), said[-1] if said else None)
    reason = _LOG_PREFIX.sub("", fatal or (lines[0] if lines else "no reason given"))[:300]
    return f"{name} does not start ({reason}): {how_to_get_a_browser(environment.platform)}."


def renderer_advice(platform: str) -> str:
    """Return what to try where a browser has not the renderer that is asked for, as a clause."""
    if platform == "win32":
        return "update the graphics driver, set headless to false, or set renderer to software"
    if platform == "darwin":
        return "set headless to false, or set renderer to software"
    return "install Mesa (Debian: libegl1 libgl1-mesa-dri) or the GPU's driver, or set renderer to auto"


def software_advice(kind: str, platform: str) -> str:
    """Return what is to be known and done where WebGL runs in software, `kind` being the renderer's class."""
    text = f"WebGL runs in software ({kind}); a GPU renders several times as fast."
    if kind == "swiftshader" and platform.startswith("linux"):
        # 12 presets on two cores: 2.3 and 1.3 a second.
        text += " Mesa's llvmpipe is 1.7 times as fast as SwiftShader: install it (Debian: libegl1 libgl1-mesa-dri)."
    return text
