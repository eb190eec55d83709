"""What `aivj bench map` measures: a style map of a simulated library, from its rows to frames in a browser."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from rich.console import Console
from rich.table import Table

from aivj_assets.cluster.growth import Growth, GrowthPlan
from aivj_assets.contracts.style import ENERGIES
from aivj_assets.layout import StyleMapDir
from aivj_assets.qa.map_layout import MapLayout, Moved, align, lay_out, movement
from aivj_assets.qa.map_page import MapHeading, MapPoints, write_map_page, write_map_side
from aivj_assets.render.chromium import find_chromium, launch_flags

# A fifth more presets than before: how far the known ones move.
GROWN = 1.2
_PICTURES, _PICTURE_PX, _BATCH_PRESETS = 256, 224, 10_000
_TRUST_SAMPLE, _TRUST_NEIGHBOURS = 3_000, 10
_POLL_S = 0.2
_TIMEOUT_MS = 300_000

Tell = Callable[[str], None]
Rows = npt.NDArray[np.float32]

# One frame: another view, then one pixel is read back, which waits until the GPU (or what stands in for it) is done.
_FRAME = """k => new Promise(done => requestAnimationFrame(() => {
  const { view, painter, draw } = aivjMap, began = performance.now();
  view.x = 0.5 + 0.1 * Math.sin(k); view.y = 0.5 + 0.1 * Math.cos(k); view.scale = view.whole * (1 + 0.3 * Math.sin(k));
  draw();
  painter.gl.readPixels(0, 0, 1, 1, painter.gl.RGBA, painter.gl.UNSIGNED_BYTE, new Uint8Array(4));
  done(performance.now() - began);
}))"""
_SEARCH = "() => { const began = performance.now(); searchNames('title 77'); return performance.now() - began; }"
_RENDERER = """() => { const gl = aivjMap.painter.gl, more = gl.getExtension("WEBGL_debug_renderer_info");
  return gl.getParameter(more ? more.UNMASKED_RENDERER_WEBGL : gl.RENDERER); }"""


def bench_style_map(points: int, *, seed: int, frames: int, progress: Tell) -> dict[str, Any]:
    """Return figures of a map of `points` simulated presets, one after the other: places, page, browser.

    Raises `UserError` without a browser.
    """
    browser = find_chromium(os.environ, platform=sys.platform).executable
    progress(f"drawing {points:,} embeddings")
    rows = simulated_rows(points, seed)
    ids = [f"sim-preset-{number:06d}" for number in range(points)]
    places, layout = bench_places(rows, ids, seed, progress)
    with tempfile.TemporaryDirectory(prefix="aivj-map-") as folder:
        progress("writing the page")
        page, written = _bench_page(Path(folder), ids, layout, seed)
        progress("drawing in a browser")
        drawn = bench_browser(browser, page, frames)
    return {"points": points, "seed": seed, "cpus": os.cpu_count(), "places": places, "page": written, "browser": drawn}


def simulated_rows(points: int, seed: int) -> Rows:
    """Return rows float32 [points, 512] of a library of overlapping styles."""
    plan = GrowthPlan(seed=seed, first=max(points // 8, min(points, 100)), middle=points // 2, final=points)
    return np.concatenate([batch.rows for batch in Growth.draw(plan).batches()])[:points]


def bench_places(rows: Rows, ids: list[str], seed: int, progress: Tell) -> tuple[dict[str, Any], MapLayout]:
    """Measure a first map of five sixths of the rows, then one of all that begins from it, then all from nothing."""
    first = round(len(rows) / GROWN)
    figures: dict[str, Any] = {}
    progress(f"laying out {first:,} presets")
    with _measured(figures, "first"):
        before = lay_out(rows[:first], ids[:first], seed=seed)
    progress(f"laying out {len(rows):,} presets, begun from {first:,}")
    known = {name: (float(x), float(y)) for name, (x, y) in zip(ids, before.places, strict=False)}
    with _measured(figures, "grown"):
        grown = lay_out(rows, ids, known, seed=seed)
    progress(f"laying out {len(rows):,} presets from nothing")
    with _measured(figures, "anew"):
        anew = lay_out(rows, ids, seed=seed)
    is_known = np.arange(len(rows)) < first
    aligned = align(anew.places, is_known, before.places)
    for name, layout, moved in (
        ("grown", grown, grown.moved),
        ("anew", anew, movement(before.places, aligned[is_known])),
    ):
        figures[name] |= _moved(moved) | {"trustworthiness": _trustworthiness(rows, layout.places, seed)}
    return figures, grown


def _moved(moved: Moved | None) -> dict[str, float]:
    if moved is None:
        return {}
    return {"moved_median_fraction": moved.median_fraction, "moved_p95_fraction": moved.p95_fraction}


def _trustworthiness(rows: Rows, places: npt.NDArray[np.float64], seed: int) -> float:
    from sklearn.manifold import trustworthiness

    chosen = np.random.default_rng(seed).permutation(len(rows))[:_TRUST_SAMPLE]
    neighbours = min(_TRUST_NEIGHBOURS, len(chosen) // 2 - 1)
    return float(trustworthiness(rows[chosen], places[chosen], n_neighbors=neighbours))


@contextmanager
def _measured(figures: dict[str, Any], name: str) -> Iterator[None]:
    """Add wall time, CPU time of this process and its largest memory (all of it, polled) under `name`."""
    process, done, peak = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(_POLL_S):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        figures[name] = {
            "wall_s": round(time.perf_counter() - wall, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
            "peak_bytes": max(peak[0], process.memory_info().rss),
        }


def _bench_page(folder: Path, ids: list[str], layout: MapLayout, seed: int) -> tuple[Path, dict[str, Any]]:
    from PIL import Image

    random = np.random.default_rng(seed)
    pictures: list[Path | None] = []
    for number in range(_PICTURES):
        small = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        path = folder / f"picture-{number}.webp"
        Image.fromarray(small).resize((_PICTURE_PX, _PICTURE_PX), Image.Resampling.BICUBIC).save(path, quality=92)
        pictures.append(path)
    count = len(ids)
    angle = np.arctan2(layout.places[:, 1], layout.places[:, 0])
    points = MapPoints(
        ids=ids,
        labels=[f"Author {number % 997} - Title {number} ({random.integers(1 << 24):06x})" for number in range(count)],
        clusters=[f"c{number:02d}" for number in ((angle + np.pi) / (2 * np.pi) * 63).astype(int)],
        energies=[ENERGIES[number] for number in random.integers(0, 3, count)],
        batches=[f"sim/batch-{1 + number // _BATCH_PRESETS:04d}" for number in range(count)],
        motion=random.random(count).tolist(),
        places=layout.places,
        pictures=[pictures[number % _PICTURES] for number in range(count)],
    )  # fmt: skip
    place = StyleMapDir(folder / "qa-samples")
    place.side.mkdir(parents=True)
    pages = {batch: f"../{batch}/index.html" for batch in dict.fromkeys(points.batches)}
    heading = MapHeading("sim", "main", 1, {}, pages, layout.method)
    began = time.perf_counter()
    written = write_map_side(place.files, points, heading)
    size = write_map_page(place.page, written)
    took = round(time.perf_counter() - began, 2)
    return place.page, {"wall_s": took, "page_bytes": size, "side_bytes": written.side_bytes}


def bench_browser(browser: Path, page: Path, frames: int) -> dict[str, Any]:
    """Open the page from disk in Chromium on software WebGL: time to the first picture and to names, frames, memory."""
    from playwright.sync_api import sync_playwright

    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    # The last set of flags is SwiftShader, on every platform: figures of two machines then compare.
    flags = [
        *launch_flags(sys.platform, "software", headless=True, is_root=is_root)[-1],
        "--enable-precise-memory-info",
    ]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=str(browser), args=flags) as live:
        shown = live.new_page(viewport={"width": 1500, "height": 950})
        began = time.perf_counter()
        shown.goto(page.as_uri(), wait_until="commit")
        shown.wait_for_selector("#map[data-state=drawn]", timeout=_TIMEOUT_MS)
        first_s = time.perf_counter() - began
        shown.wait_for_selector("#map[data-names=ready]", timeout=_TIMEOUT_MS)
        names_s = time.perf_counter() - began
        took = [float(shown.evaluate(_FRAME, number * 0.3)) for number in range(frames)]
        search_ms = shown.evaluate(_SEARCH)
        return {
            "renderer": shown.evaluate(_RENDERER),
            "first_picture_s": round(first_s, 2),
            "names_s": round(names_s, 2),
            "frame_ms_median": round(statistics.median(took), 1),
            "frame_ms_p95": round(float(np.quantile(took, 0.95)), 1),
            "search_ms": round(float(search_ms), 1),
            "heap_bytes": int(shown.evaluate("performance.memory.usedJSHeapSize")),
        }


def print_map_bench(console: Console, figures: dict[str, Any]) -> None:
    """Print the figures as tables."""
    table = Table(title=f"Places of {figures['points']:,} presets, {figures['cpus']} CPUs")
    for heading in ("map", "wall s", "CPU s", "peak MB", "moved, median", "moved, 95 %", "trust"):
        table.add_column(heading, justify="left" if heading == "map" else "right")
    for name in ("first", "grown", "anew"):
        one = figures["places"][name]
        moved = [f"{one[key]:.1%}" if key in one else "" for key in ("moved_median_fraction", "moved_p95_fraction")]
        trust = f"{one['trustworthiness']:.3f}" if "trustworthiness" in one else ""
        costs = (f"{one['wall_s']:.1f}", f"{one['cpu_s']:.1f}", f"{one['peak_bytes'] / 1e6:.0f}")
        table.add_row(name, *costs, *moved, trust)
    console.print(table)
    page, drawn = figures["page"], figures["browser"]
    sizes = f"{page['page_bytes'] / 1e6:.1f} MB, {page['side_bytes'] / 1e6:.1f} MB beside it"
    first = f"first picture after {drawn['first_picture_s']:.1f} s, all names after {drawn['names_s']:.1f} s"
    frame = f"a frame {drawn['frame_ms_median']:.0f} ms (95 %: {drawn['frame_ms_p95']:.0f} ms)"
    rest = f"a search {drawn['search_ms']:.0f} ms, JavaScript heap {drawn['heap_bytes'] / 1e6:.0f} MB"
    lines = (
        f"First: {1 / GROWN:.0%} of the presets. Grown: all, begun from the first. Anew: all, from nothing.",
        "Moved: a fraction of the map's diagonal. Trust: trustworthiness of 10 neighbours, 0 to 1, on 3,000 presets.",
        f"Page {sizes}, written in {page['wall_s']:.0f} s.",
        f"Browser ({drawn['renderer']}): {first}, {frame}, {rest}.",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
