"""`python3 -m aivj_assets demo` and `python3 -m aivj_assets test`: set the environment up, then run.

This file is read by whatever Python the user has, so it keeps to syntax that old ones can parse, and to the standard
library. The work is in `aivj_assets.bootstrap`, imported once the version is known to be new enough.
"""

import shutil
import sys

MIN_PYTHON = (3, 11)


def old_python_message(version: "tuple[int, int]", arguments: "list[str]") -> str:
    """Return the one line for a Python that is too old, naming a newer one when there is one on PATH."""
    need = ".".join(map(str, MIN_PYTHON))
    have = f"Python {version[0]}.{version[1]} is too old: aivj-assets needs Python {need} or newer"
    rest = " ".join(["-m", "aivj_assets", *arguments])
    for minor in (13, 12, 11):
        if shutil.which(f"python3.{minor}"):
            return f"{have}. Run: python3.{minor} {rest}"
    launcher = "py -3.12" if sys.platform == "win32" else "python3.12"
    return f"{have}. Install it, then run: {launcher} {rest}"


def main(arguments: "list[str]") -> int:
    """Check the Python, then hand over; returns the exit status."""
    version = (sys.version_info[0], sys.version_info[1])
    if version < MIN_PYTHON:
        sys.stderr.write(old_python_message(version, arguments) + "\n")
        return 2
    from aivj_assets import bootstrap

    return bootstrap.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
