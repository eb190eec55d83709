"""What makes rendering fast changes no pixel: the same presets on a page that does all the work."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets_tests.browser.render.test_exactness import EXTRA_IMAGE, MILK_KINDS, PROJECTM, choose
from aivj_assets_tests.browser.render.workers import contents, render

pytestmark = pytest.mark.browser

# The page's modules that only save work, and what stands in for each: nothing is saved.
SAVING = {
    "gl_calls.js": "export function dropRepeatedCalls() {}\n",
    "passes.js": "export function compositeOnDemand() {}\n",
    "compile_later.js": "export function compileWhenUsed() {}\n",
    "shape_batch.js": "export function drawInstancesTogether() {}\n",
    "spectra.js": "export function rememberSpectra() {}\n",
}
# As butterchurn draws it; negative places of attributes that a program does not use are errors without an effect.
MESH_AS_TRIANGLES = {"warp_mesh.js": "export const WARP_MESH = 'triangles';\nexport function drawMeshPerPixel() {}\n"}
JSON_KINDS = {
    "extra image": (EXTRA_IMAGE, 1),
    "blur for the composite alone": (r'"warp": ?"(?![^"]*blur)[^"]*", ?"comp": ?"[^"]*sampler_blur[123]', 2),
    "blur for the warp": (r'"warp": ?"[^"]*sampler_blur1', 2),
    "many instances": (r'"num_inst": ?(?:[2-9]|\d\d)', 4),
    "textured shape": (r'"textured": ?1', 2),
    "custom wave": (r'"waves": ?\[[^\]]*"enabled": ?1', 2),
    "motion vectors": (r'"mv_a": ?(?:1|0\.[1-9])', 1),
}


@pytest.fixture
def plain_environment(render_environment: RenderEnvironment, tmp_path: Path) -> Callable[..., RenderEnvironment]:
    """Our own page with some of its modules replaced."""

    def make(modules: dict[str, str]) -> RenderEnvironment:
        page_dir = tmp_path / "page"
        shutil.copytree(render_environment.page_dir, page_dir)
        for name, text in modules.items():
            assert (page_dir / name).is_file(), name
            (page_dir / name).write_text(text, encoding="utf-8", newline="\n")
        return replace(render_environment, page_dir=page_dir)

    return make


@pytest.mark.timeout(300)
def test_work_that_is_saved_changes_no_pixel(
    real_presets: list[Path],
    make_batch: Callable[[str], Any],
    render_environment: RenderEnvironment,
    plain_environment: Callable[..., RenderEnvironment],
    browser_report: BrowserReport,
) -> None:
    files = choose(real_presets, JSON_KINDS, 12)
    if PROJECTM.is_dir():
        files += choose(sorted(PROJECTM.rglob("*.milk")), {"blur": MILK_KINDS["blur"], "loop": MILK_KINDS["loop"]}, 4)
    parameters = RenderParameters(warmup_frames=8, capture_count=2, capture_every=4, timeout_ms=60_000)
    found = []
    for name, environment in (("saving", render_environment), ("all", plain_environment(SAVING))):
        batch = make_batch(name)
        for number, path in enumerate(files):
            batch.add(f"preset-{number}", path)
        render(batch, environment, browser_report, parameters)
        found.append(contents(batch))
        assert sum(isinstance(record, OkRecord) for record in batch.records().values()) >= len(files) - 1
    assert found[0] == found[1]


def test_the_mesh_looked_up_per_pixel_is_the_mesh(
    make_batch: Callable[[str], Any],
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    plain_environment: Callable[..., RenderEnvironment],
    browser_report: BrowserReport,
) -> None:
    # The picture is the coordinates themselves; the last channel shows a sixteenth of the picture in full range.
    shown = preset_text(
        "a.zoom = 1.3; a.rot = 0.3; a.warp = 2; a.dx = 0.02;",
        pixel_eqs_str="a.zoom = 1 + 0.4 * a.rad; a.rot = 0.2 * a.ang;",
        warp="shader_body { ret = vec3(uv, fract(uv.x * 4.0)); }",
        comp="shader_body { ret = texture(sampler_main, uv).xyz; }",
    )
    shown = json.dumps({**json.loads(shown), "waves": [], "shapes": []})
    parameters = RenderParameters(
        warmup_frames=2, capture_count=1, capture_every=2, format="png", width=256, height=256, out_size=256
    )
    pictures = []
    triangles = plain_environment({**SAVING, **MESH_AS_TRIANGLES})
    drawn = {"anisotropicFilter": "off", "warpMesh": "triangles"}
    told_of_triangles = replace(browser_report, page=browser_report.page.model_copy(update={"drawing": drawn}))
    for name, environment, told in (
        ("looked-up", render_environment, browser_report),
        ("triangles", triangles, told_of_triangles),
    ):
        batch = make_batch(name)
        batch.add("uv", shown)
        assert render(batch, environment, told, parameters).ok == 1, batch.records()
        pictures.append(np.asarray(Image.open(io.BytesIO(batch.frame_bytes("uv")[0])).convert("RGB")).astype(int))
    assert pictures[0][..., 0].std() > 30
    difference = np.abs(pictures[0] - pictures[1])
    assert difference[..., :2].max() <= 1
    # A jump of the sawtooth may fall on either side of a pixel's centre.
    assert np.quantile(difference[..., 2], 0.995) <= 2
