"""Why a browser did not start, from the driver's report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.start_failure import explain_start_failure, renderer_advice

REPORT = """BrowserType.launch: Target page, context or browser has been closed
Browser logs:

<launching> /usr/bin/chromium --no-sandbox --ozone-platform=headless --disable-features=display
<launched> pid=7
{said}
Call log:
  - <launching> /usr/bin/chromium --no-sandbox --ozone-platform=headless
"""


def environment(platform: str = "linux") -> RenderEnvironment:
    executable = Path("/usr/bin/chromium")
    return RenderEnvironment(executable, "system", Path("p"), Path("n"), is_root=False, platform=platform)


@pytest.mark.parametrize(
    ("said", "headless", "says"),
    [
        ("[pid=7][err] [1:1:FATAL:zygote_host_impl_linux.cc(128)] No usable sandbox!", True, "unprivileged user"),
        (
            "[pid=7][err] chromium: error while loading shared libraries: libnss3.so",
            True,
            "`.venv/bin/python -m playwright install-deps chromium`",
        ),
        ("[pid=7][err] [1:1:ERROR:ozone_platform_x11.cc(240)] Missing X server or $DISPLAY", False, "headless to true"),
        ("[pid=7][err] write: No space left on device", True, "make room"),
        ("[pid=7][err] [1:1:FATAL:process_singleton_posix.cc:315] Socket path too long: /t/x", True, "TMPDIR"),
        ("[pid=7][err] [1:1:FATAL:x.cc:1] Something new.", True, r"does not start \(Something new\.\): install"),
        ("", True, r"does not start \(BrowserType\.launch: Target page"),
    ],
)
def test_each_cause_has_its_way_out(said: str, headless: bool, says: str) -> None:
    text = explain_start_failure(REPORT.format(said=said), environment(), headless=headless)
    assert "\n" not in text
    assert text.startswith("/usr/bin/chromium ")
    assert re.search(says, text)


def test_the_way_out_suits_the_platform() -> None:
    text = explain_start_failure("", environment("win32"), headless=True)
    assert "Edge" in text
    assert "apt-get" not in text
    assert "headless to false" in renderer_advice("win32")
    assert "apt" not in renderer_advice("darwin")
    assert "libgl1-mesa-dri" in renderer_advice("linux")
