"""Rendering parameters: those that decide the pixels, those that do not, and the fingerprint over the first."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from aivj_assets.contracts.base import ContractModel

ImageFormat = Literal["webp", "png", "jpeg"]
SUFFIX_OF_FORMAT: dict[str, str] = {"webp": "webp", "png": "png", "jpeg": "jpg"}

SYNTHETIC = "synthetic"
SILENCE = "silence"
SOUNDS: tuple[str, ...] = (SYNTHETIC, "synthetic:pulse", "synthetic:bursts", "synthetic:sweep")
"""The synthetic sounds; the first, a techno loop, is also `synthetic:techno`."""
GIVEN_PREFIX = "sha256:"
FILE_PREFIX = "file:"
_GIVEN = re.compile(r"sha256:[0-9a-f]{64}")


def given_sound(audio: str) -> str | None:
    """Return the SHA-256 of the samples that a value of `audio` names, None for another kind of sound."""
    return audio.removeprefix(GIVEN_PREFIX) if audio.startswith(GIVEN_PREFIX) else None


class RenderParameters(ContractModel):
    """Everything a person can set about rendering. Times of the simulation are in frames of 1/`fixedStepFps` s."""

    manifest: str | None = Field(None, description="manifest to render; by default the batch's own")
    out_dir: str | None = Field(None, description="artifact folder; by default the batch's own")
    resume: bool = Field(True, description="keep what an earlier run rendered with the same fingerprint")
    retry_failed: bool = Field(False, description="render failed presets again, whatever their reason")
    headless: bool = Field(True, description="false shows the browser: for machines whose headless mode has no GPU")
    time_mode: Literal["fixedStep", "realtime"] = "fixedStep"
    fixed_step_fps: int = Field(30, ge=1, le=240)
    prewarm: bool = Field(True, description="one probe call without captures after each browser start")
    prewarm_timeout_ms: int = Field(90_000, ge=1000)
    warmup_frames: int = Field(60, ge=0, le=10_000)
    capture_count: int = Field(3, ge=1, le=512)
    capture_every: int = Field(30, ge=1, le=10_000)
    timeout_ms: int = Field(30_000, ge=1000, description="deadline of one preset")
    refresh_every: int = Field(100, ge=1, description="presets per browser lifetime, which is one mapped step")
    retry_times: int = Field(2, ge=0, le=10, description="further tries of a preset whose failure may be transient")
    preset_delay_ms: int | None = Field(
        None, ge=0, description="pause between presets: 0 with our page, 200 with the app's"
    )
    width: int = Field(256, ge=16, le=4096)
    height: int = Field(144, ge=16, le=4096)
    out_size: int = Field(224, ge=16, le=2048, description="side of the stored square image, in pixels")
    format: ImageFormat = "webp"
    webp_quality: float = Field(0.92, gt=0, le=1)
    log_every: int = Field(25, ge=1)
    audio: str = Field(
        SYNTHETIC,
        description=f"what presets hear: {', '.join(SOUNDS)}, silence, or file:<path> of a sound, which is kept under "
        "its digest as sha256:<hex>",
    )
    audio_seed: int = Field(1, ge=0, lt=2**32)
    bpm: float = Field(128.0, ge=30, le=300)
    stop_after_sec: float = Field(0.0, ge=0, description="stop between presets after so many seconds; 0 never")
    probe_url: str | None = Field(
        None, description="render page of the app instead of our own, e.g. http://127.0.0.1:5174/preset-probe.html"
    )
    renderer: Literal["auto", "gpu", "software"] = Field(
        "auto", description="which WebGL implementation to ask Chromium for"
    )
    require_gpu: bool = Field(False, description="refuse to render on a software renderer")

    @field_validator("audio")
    @classmethod
    def _audio_is_known(cls, value: str) -> str:
        if value == "synthetic:techno":
            return SYNTHETIC
        file = value.removeprefix(FILE_PREFIX) if value.startswith(FILE_PREFIX) else ""
        if value in SOUNDS or value == SILENCE or _GIVEN.fullmatch(value) or file.strip():
            return value
        raise ValueError(f"'{value}' is no sound; there are {', '.join(SOUNDS)}, {SILENCE} and file:<path>")

    @model_validator(mode="after")
    def _app_knows_one_sound(self) -> Self:
        if self.probe_url is not None and self.audio != SYNTHETIC:
            raise ValueError(f"audio '{self.audio}': the app's page (probeUrl) knows only {SYNTHETIC}")
        return self

    @model_validator(mode="after")
    def _delay_follows_the_page(self) -> Self:
        if self.preset_delay_ms is None:
            self.preset_delay_ms = 200 if self.probe_url else 0
        return self

    @property
    def suffix(self) -> str:
        """File suffix of the stored images, without the dot."""
        return SUFFIX_OF_FORMAT[self.format]

    @property
    def mime(self) -> str:
        """MIME type of the stored images."""
        return f"image/{self.format}"


PIXEL_FIELDS = (
    "width", "height", "out_size", "format", "webp_quality", "time_mode", "fixed_step_fps", "warmup_frames",
    "capture_count", "capture_every", "audio", "audio_seed", "bpm", "probe_url",
)  # fmt: skip


class PageDescription(ContractModel):
    """What a render page says of itself; part of the pixel parameters. Empty strings where a page does not tell."""

    engine: str
    engine_version: str
    page_version: str
    renderer: str = Field(description="UNMASKED_RENDERER_WEBGL: the GPU or the software renderer")


def pixel_parameters(parameters: RenderParameters, page: PageDescription) -> dict[str, Any]:
    """Return the parameters that decide the pictures, camelCase, in a fixed order.

    `probeUrl` is None for our own page, which tells its version; two addresses of the app are two pages. A sound that
    came from a file is in it by its digest: whoever decoded it has put that in the path's place.
    """
    if parameters.audio.startswith(FILE_PREFIX):
        raise ValueError("the file of parameters.audio was not decoded")
    chosen = parameters.model_dump(mode="json", by_alias=True, include=set(PIXEL_FIELDS))
    return {**page.model_dump(mode="json", by_alias=True), **chosen}


def settable(pixels: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of pixel parameters that a person can set, by their names in files; the others are the machine's."""
    names = {RenderParameters.model_fields[name].alias or name for name in PIXEL_FIELDS}
    return {name: value for name, value in pixels.items() if name in names}


def is_pixel_parameter(name: str) -> bool:
    """Whether a parameter, by its name in files, decides the pictures."""
    return bool(settable({name: None}))


def operational_parameters(parameters: RenderParameters) -> dict[str, Any]:
    """Return the parameters that do not decide the pictures, camelCase."""
    return parameters.model_dump(mode="json", by_alias=True, exclude=set(PIXEL_FIELDS), exclude_none=True)


def fingerprint(pixels: dict[str, Any]) -> str:
    """Return the first 16 hex digits of the SHA-256 over the pixel parameters as canonical JSON."""
    text = json.dumps(pixels, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
