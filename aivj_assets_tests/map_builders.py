"""A style map of a few presets with names that a page must not take at their word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from aivj_assets.contracts.style import ENERGIES
from aivj_assets.layout import StyleMapDir
from aivj_assets.qa.map_page import MapHeading, MapPoints, WrittenMap, write_map_page, write_map_side

HOSTILE = [
    "<script>document.title = 'taken'</script> - <img src=x onerror=\"document.title='taken'\">",
    "Author - " + "x" * 300,
    "Flexi - Ünïcødé Łódź Straße",
    "שלום עולם - عنوان طويل",
    "\"quotes\" & 'more' - </script></li></main>",
]
CLUSTERS, BATCHES = 5, 2
COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (200, 30, 200)]


def map_points(folder: Path, count: int = 60) -> MapPoints:
    """Return presets on a ring of five clusters, one colour a cluster; the first five have hostile names."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: list[Path | None] = []
    for number, colour in enumerate(COLOURS):
        path = folder / f"{number}.png"
        Image.new("RGB", (64, 64), colour).save(path)
        pictures.append(path)
    angle = 2 * np.pi * (np.arange(count) % CLUSTERS) / CLUSTERS
    around = np.random.default_rng(1).normal(scale=0.12, size=(count, 2))
    return MapPoints(
        ids=[f"big-p{number:05d}" for number in range(count)],
        labels=[*HOSTILE, *(f"Geiss - Title {number}" for number in range(len(HOSTILE), count))][:count],
        clusters=[f"c{number % CLUSTERS:02d}" for number in range(count)],
        energies=[ENERGIES[number % 3] for number in range(count)],
        batches=[f"big/batch-{1 + number % BATCHES:04d}" for number in range(count)],
        motion=[number / max(1, count - 1) for number in range(count)],
        places=np.stack([np.cos(angle), np.sin(angle)], axis=1) + around,
        pictures=[pictures[number % CLUSTERS] for number in range(count)],
    )


def map_heading(labels: Sequence[str] = ("<b>bold</b> tunnel", "c01", "מראה", "gray", "pale")) -> MapHeading:
    """Return what the page says of the pack."""
    return MapHeading(
        pack="big",
        lineage="main",
        lineage_version=3,
        labels={f"c{number:02d}": label for number, label in enumerate(labels)},
        review_pages={
            f"big/{batch}": f"../{batch}/qa-samples/index.html"
            for batch in (f"batch-{number:04d}" for number in range(1, BATCHES + 1))
        },
        method="openTSNE",
    )


def write_map(qa: Path, count: int = 60) -> WrittenMap:
    """Write the page and what lies beside it into `qa`."""
    place = StyleMapDir(qa)
    place.side.mkdir(parents=True)
    written = write_map_side(place.files, map_points(qa.parent / "pictures", count), map_heading())
    write_map_page(place.page, written)
    return written
