"""A review by keyboard, exported by the page, imported, seen in the published index, and known to the next page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.verdicts.intake import import_files
from aivj_assets.orchestration.verdicts.known import Judged
from aivj_assets_tests.builders import seed_storage
from aivj_assets_tests.house import House
from aivj_assets_tests.lineage_builders import style_rows

ONE = BatchKey("big", "batch-0001")


@pytest.fixture
def house(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root = DataRoot(tmp_path / "root")
    seed_storage(root, tmp_path_factory)
    with open_instance(root, {}) as instance:
        made = House(root, instance)
        made.add(ONE, 16)
        made.rows[ONE.key] = style_rows([1, 0] * 8, seed=0)
        assert made.run(ONE, "a").success
        assert made.publish("big").success
        yield made


def export(browser: Browser, house: House, keys: Sequence[str], target: Path) -> Path:
    """Press keys on the review page and save what it exports."""
    page = browser.new_page()
    try:
        page.goto((house.root.batch(ONE).qa_dir / "index.html").resolve().as_uri())
        for key in keys:
            page.keyboard.press(key)
        with page.expect_download() as download:
            page.keyboard.press("e")
        download.value.save_as(target)
    finally:
        page.context.close()
    return target


def test_keys_pressed_on_the_page_decide_what_is_published(browser: Browser, house: House, tmp_path: Path) -> None:
    first = export(browser, house, ["g", "j", "b"], tmp_path / "first.json")
    said = {name: one["verdict"] for name, one in json.loads(first.read_text(encoding="utf-8"))["clusters"].items()}
    assert sorted(said.values()) == ["bad", "good"]
    (stored,) = import_files(house.root, [first])
    assert stored.clusters == sorted(said)
    assert house.publish("big").success
    entries = json.loads(house.published()["aivj-style-index.v1.json"])["entries"]
    assert {said[entry["authorKey"]] for entry in entries} == {"good"}

    # The page made anew knows it; exported untouched, it says nothing new and makes no verdict younger.
    assert house.make(ONE, "qa_samples", checks=True).success
    second = export(browser, house, [], tmp_path / "second.json")
    assert json.loads(second.read_text(encoding="utf-8"))["clusters"].keys() == said.keys()
    judged = Judged.open(house.root, "main")
    assert judged is not None
    assert not import_files(house.root, [second])[0].changed
    again = Judged.open(house.root, "main")
    assert again is not None
    assert again.verdicts.clusters == judged.verdicts.clusters
