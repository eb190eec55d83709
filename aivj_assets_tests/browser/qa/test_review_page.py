"""The review page as a person meets it: opened from disk in a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from aivj_assets.contracts.clusters import Cluster, Clusters, cluster_id
from aivj_assets.contracts.frames_index import FrameMetrics, OkRecord, frame_paths, id_hash
from aivj_assets.layout import BatchDir, BatchKey
from aivj_assets.qa.page import write_qa_samples
from aivj_assets.style.energy import energy_by_motion
from aivj_assets_tests.pages import page_until

pytestmark = pytest.mark.browser

K, PER_CLUSTER = 8, 12
NAMES = [
    "<script>document.title = 'taken'</script> - <img src=x onerror=\"document.title='taken'\">",
    "Author - " + "x" * 300,
    "🔥🦄 - ночь 日本",
    "שלום עולם - عنوان طويل",
    "\"quotes\" & 'more' - </li></ul></main>",
]


@pytest.fixture(scope="module")
def qa_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = BatchDir(tmp_path_factory.mktemp("batch"))
    random = np.random.default_rng(1)
    labels: dict[str, str] = {}
    assignments: dict[str, str] = {}
    records: dict[str, OkRecord] = {}
    for number in range(K * PER_CLUSTER):
        name = f"starter-{number:03d}"
        labels[name] = NAMES[number] if number < len(NAMES) else f"Geiss - Title {number}"
        assignments[name] = cluster_id(number % K)
        frames = frame_paths(id_hash(name), 1, "webp")
        picture = folder.path / frames[0]
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (224, 224), tuple(random.integers(0, 256, 3).tolist())).save(picture)
        records[name] = OkRecord(
            preset_id=name,
            rel_path=f"starter/{number}.milk",
            file_path="x",
            id_hash=id_hash(name),
            frames=frames,
            metrics=FrameMetrics(avg_luma=0.5, motion=float(random.uniform(0, 0.5))),
        )
    clusters = Clusters(
        k=K,
        seed=1,
        strategy="versioned",
        previous=None,
        clusters=[
            Cluster(id=cluster_id(row), size=PER_CLUSTER, centroid=row, born_in="starter", label=cluster_id(row))
            for row in range(K)
        ],
        assignments=assignments,
    )
    energies = energy_by_motion({name: record.metrics.motion for name, record in records.items()}).energies
    write_qa_samples(folder, BatchKey("starter"), clusters, records=records, energies=energies, labels=labels)
    # A person may copy the folder anywhere, also where its name needs escaping in an address.
    copied = tmp_path_factory.mktemp("copied") / "für die show #1"
    shutil.copytree(folder.qa_dir, copied)
    return copied


@pytest.fixture
def page(browser: Browser, qa_dir: Path) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    opened.goto((qa_dir / "index.html").as_uri())
    yield opened
    opened.close()


def test_every_picture_loads_as_it_is_scrolled_to_and_is_shown_at_16_to_9(page: Page) -> None:
    for number in range(K):
        page.locator(f"#{cluster_id(number)}").scroll_into_view_if_needed()
        page_until(
            page,
            "id => [...document.querySelectorAll(`#${id} img`)].every(image => image.complete && image.naturalWidth)",
            cluster_id(number),
        )
    sizes = page.evaluate("[...document.images].map(image => [image.clientWidth, image.clientHeight])")
    assert len(sizes) == K * PER_CLUSTER
    assert all(width / height == pytest.approx(16 / 9, rel=0.02) for width, height in sizes)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440


def test_names_are_shown_as_they_are_and_run_nothing(page: Page) -> None:
    assert "taken" not in page.title()
    assert page.locator("main script, main [onerror], main img[src=x]").count() == 0
    assert page.locator("main .sheet li").count() == K * PER_CLUSTER
    shown = ""
    for cluster in page.locator("main section").all():
        cluster.scroll_into_view_if_needed()
        shown += cluster.inner_text()
    for label in NAMES:
        for part in label.split(" - "):
            assert part in shown
    # Long names are cut, not left to widen their tile.
    widths = set(page.evaluate("[...document.querySelectorAll('.sheet li')].map(tile => tile.clientWidth)"))
    assert max(widths) - min(widths) <= 1


def test_the_page_asks_for_nothing_outside_its_folder(browser: Browser, qa_dir: Path) -> None:
    page = browser.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto((qa_dir / "index.html").as_uri())
    page.wait_for_load_state("networkidle")
    page.close()
    assert len(asked) > 1
    assert all(url.startswith(qa_dir.as_uri()) for url in asked)
    assert complaints == []


def test_the_keyboard_leads_to_every_cluster(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the clusters"
    for _ in range(K):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == f"#{cluster_id(K - 1)}"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    strip = page.locator("nav").bounding_box()
    heading = page.locator(f"#h-{cluster_id(K - 2)}").bounding_box()
    assert strip is not None
    assert heading is not None
    # The cluster's heading stands below the strip of clusters, which stays in sight.
    assert strip["y"] == pytest.approx(0, abs=1)
    assert strip["y"] + strip["height"] <= heading["y"] < 300
    page.get_by_role("link", name="Next cluster, c07").first.press("Enter")
    assert page.url.endswith("#c07")


def test_everything_has_an_accessible_name(page: Page) -> None:
    assert page.get_by_role("navigation", name="Clusters").count() == 1
    assert page.get_by_role("region").count() == K
    assert page.get_by_role("link", name="Cluster c03, 12 presets").count() == 1
    assert page.get_by_role("img", name="by Geiss").count() == K * PER_CLUSTER - len(NAMES)
    nameless = page.evaluate("[...document.images].filter(image => !image.alt.trim()).length")
    assert nameless == 0
