"""The stand-in engine: what a rendering session takes for a browser, drawing without WebGL in this very process."""
# ruff: noqa: ARG002 - a stand-in takes what a browser takes

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters
from aivj_assets.orchestration.bench.scale.pictures import Picture, draw, fails
from aivj_assets.orchestration.resources import RendererResource
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.page_host import PageHost

RENDERER = "software: the stand-in of aivj bench scale"
VERSION = "stand-in 1"
_FORMATS = {"webp": "WEBP", "png": "PNG", "jpeg": "JPEG"}


class StandInBrowser:
    """Answers as the render page does, at the cost of encoding its pictures. It fails no other way than presets do."""

    def __init__(self, environment: RenderEnvironment) -> None:
        self.flags: tuple[str, ...] = ()
        self.host = PageHost(environment.page_dir, environment.node_modules)
        self.version = VERSION
        self.last_stage = ""
        self.alive = True
        self.processes: list[psutil.Process] = []

    def open_page(self, timeout_s: float) -> None:
        """Have nothing to load."""

    def describe(self, timeout_s: float) -> PageDescription:
        """Return what stands in the pixel parameters of the benchmark's batches."""
        return PageDescription(engine="stand-in", engine_version="1", page_version="1", renderer=RENDERER)

    def dump(self, payload: Mapping[str, Any], timeout_s: float, watch: Callable[[], None] | None = None) -> Any:
        """Draw a preset's captures and the picture before them."""
        text, count = str(payload["presetData"]), int(payload["captureCount"])
        if fails(text):
            return {"ok": False, "reasons": ["shader-compile-failed"], "errorText": "a preset that is made to fail"}
        pictures = draw(text, int(payload["outSize"]), count + 1)
        images = [_encoded(picture, payload) for picture in pictures]
        return {
            "ok": True, "reasons": [], "errorText": None, "metrics": {}, "timings_ms": {}, "warnings": [],
            "reference": images[0], "frames": images[1:], "frameCount": count,
        }  # fmt: skip

    def sound(self, settings: Mapping[str, Any], seconds: float) -> str:
        """Return silence: nothing here listens."""
        return ""

    def kill(self) -> None:
        """Have no process to end."""
        self.alive = False

    def close(self) -> None:
        """Have nothing to tidy up."""
        self.alive = False


def _encoded(picture: Picture, payload: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(payload["format"])
    buffer = io.BytesIO()
    # The fastest method: the cost of encoding is the stand-in's, not the platform's.
    options = {"method": 0} if kind == "webp" else {}
    quality = round(100 * float(payload["webpQuality"]))
    Image.fromarray(picture).save(buffer, _FORMATS[kind], quality=quality, **options)
    return {"mime": f"image/{kind}", "b64": base64.b64encode(buffer.getvalue()).decode()}


class StandInEnvironment(RenderEnvironment):
    """A render environment whose browsers are stand-ins."""

    def start_browser(self, parameters: RenderParameters, flags: Sequence[str] | None) -> StandInBrowser:
        """Return a stand-in; nothing is started."""
        return StandInBrowser(self)


def stand_in_environment() -> StandInEnvironment:
    """Return the environment of the benchmark; no browser or package is looked for."""
    nowhere = Path("no-such-file")
    return StandInEnvironment(nowhere, "stand-in", nowhere, nowhere, is_root=False, platform=sys.platform)


class StandInRenderer(RendererResource):
    """The renderer of the benchmark's definitions."""

    def get(self) -> RenderEnvironment:
        """Return an environment that needs no browser."""
        return stand_in_environment()
