"""The page with all that embeddings, the lineage, earlier verdicts and duplicates give it."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from aivj_assets.contracts.frames_index import id_hash
from aivj_assets.contracts.qa_duplicates import QaDuplicates
from aivj_assets.contracts.qa_index import QaIndex
from aivj_assets.qa.views import ClusterChange, Moved
from aivj_assets_tests.review_builders import KNOWN, ReviewBatch, review_batch, some_duplicates
from aivj_assets_tests.unit.qa.test_page import Page

K, PER = 4, 20


@pytest.fixture
def batch(tmp_path: Path) -> ReviewBatch:
    return review_batch(tmp_path / "batch", K, PER, side=16)


def html_of(batch: ReviewBatch) -> str:
    return (batch.folder.qa_dir / "index.html").read_text(encoding="utf-8")


def data_of(html: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def test_samples_stay_the_contracts_list_and_medoids_and_outliers_stand_beside_them(batch: ReviewBatch) -> None:
    index = batch.write()
    assert QaIndex.load(batch.folder.qa_dir / "index.json") == index
    assert len(index.copied) == K * 12
    assert index.medoids is not None
    assert index.outliers is not None
    assert len(index.medoids) == len(index.outliers) == K * 5
    shown = {copy.preset_id: copy.dest for copy in [*index.copied, *index.medoids, *index.outliers]}
    page = Page(html_of(batch))
    tiles = [tag for tag in page.all("li") if str(tag.get("class", "")).startswith("tile")]
    # A preset that is sample and medoid is one tile and one copy.
    assert sorted(str(tile["data-id"]) for tile in tiles) == sorted(shown)
    assert len(list(batch.folder.qa_dir.glob("cluster-*/*.webp"))) == len(shown) < K * 24
    marks = [tag["class"] for tag in page.all("span") if str(tag.get("class", "")).startswith("mark ")]
    assert (marks.count("mark medoid"), marks.count("mark outlier")) == (K * 5, K * 5)
    assert (index.batch, index.lineage, index.lineage_version) == ("starter", "main", 3)


def test_the_draw_does_not_depend_on_what_stands_beside_it(batch: ReviewBatch) -> None:
    assert batch.write(duplicates=some_duplicates(batch), known=KNOWN).copied == batch.write().copied


def test_a_strip_holds_every_capture_of_a_shown_preset_side_by_side_at_16_to_9(batch: ReviewBatch) -> None:
    index = batch.write()
    assert index.medoids is not None
    assert index.outliers is not None
    strips = {path.stem for path in (batch.folder.qa_dir / "strips").iterdir()}
    assert strips == {id_hash(copy.preset_id) for copy in [*index.copied, *index.medoids, *index.outliers]}
    first = batch.records[index.copied[0].preset_id]
    with Image.open(batch.folder.qa_dir / "strips" / f"{first.id_hash}.webp") as strip:
        assert (strip.format, strip.size) == ("WEBP", (3 * 192, 108))
        with Image.open(batch.folder.path / first.frames[2]) as frame:
            wanted = frame.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        found = strip.convert("RGB").crop((384, 0, 576, 108)).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(wanted, tuple)
    assert isinstance(found, tuple)
    assert all(abs(one - other) < 12 for one, other in zip(wanted, found, strict=True))


def test_a_capture_that_cannot_be_read_leaves_its_place_black_and_fails_nothing(batch: ReviewBatch) -> None:
    for record in batch.records.values():
        (batch.folder.path / record.frames[2]).write_bytes(b"RIFF")
    index = batch.write()
    digest = id_hash(index.copied[0].preset_id)
    with Image.open(batch.folder.qa_dir / "strips" / f"{digest}.webp") as strip:
        assert strip.convert("L").crop((384, 0, 576, 108)).getextrema()[1] < 8
        assert strip.convert("L").crop((0, 0, 192, 108)).getextrema()[1] > 30


def test_headers_tell_size_cohesion_neighbours_and_what_came_and_left(batch: ReviewBatch) -> None:
    ids = list(batch.records)
    changes = {
        "c00": ClusterChange(2, [Moved(ids[0]), Moved(ids[8], "c03")], [Moved("<b>gone</b>", "c01")], 40, 1),
        "c01": ClusterChange(2, [], [], 2 * PER, 0),
    }
    batch.write(changes=changes)
    words = " ".join(Page(html_of(batch)).words.split())
    first, second, third, fourth = (words.partition(f"c{number:02d} style {number}")[2] for number in range(K))
    assert first.startswith(f" {PER} presets 25.0 % {2 * PER} in the lineage")
    assert re.search(r"cohesion 0\.\d{3} ± 0\.\d{3}", fourth)
    assert re.search(r"near (c\d\d -?\d\.\d\d ){3}", third)
    assert "+40 since version 2:" in first
    assert "Title 8 from c03 and 38 more" in first
    assert "\u22121 since version 2: <b>gone</b> to c01" in first
    assert "new since version 2: all 40 presets came with this one" in second
    assert "since version" not in third


def test_what_the_script_reads_survives_hostile_labels(batch: ReviewBatch) -> None:
    hostile = "</script><script>alert(1)</script>\u2028 & 'x' \" <!--"
    batch.clusters.clusters[0].label = hostile
    known = {**KNOWN, "c03": {"verdict": "good", "label": hostile, "note": hostile, "at": "x", "carried": True}}
    batch.write(known=known)
    html = html_of(batch)
    data = data_of(html)
    assert data["clusters"][0]["label"] == hostile  # type: ignore[index]
    assert data["known"] == known
    assert len(Page(html).all("script")) == 2
    assert "\u2028" not in html.partition("review-data")[2].partition("</script>")[0]


def test_duplicates_are_shown_with_all_captures_and_written_beside_the_page(batch: ReviewBatch) -> None:
    duplicates = some_duplicates(batch)
    batch.write(duplicates=duplicates)
    folder = batch.folder.qa_dir
    assert QaDuplicates.load(folder / "duplicates.json") == duplicates
    page = Page(html_of(batch))
    members = [tag["data-id"] for tag in page.all("li") if tag.get("class") == "like"]
    assert members == [one.preset_id for group in duplicates.groups for one in group.presets] + [
        duplicates.misfits[0].preset_id
    ]
    for name in members:
        assert (folder / "strips" / f"{id_hash(str(name))}.webp").is_file()


def test_more_duplicates_than_a_page_holds_are_in_the_file_alone(batch: ReviewBatch) -> None:
    duplicates = some_duplicates(batch)
    many = duplicates.model_copy(update={"groups": duplicates.groups * 200})
    batch.write(duplicates=many)
    shown = sum(tag.get("class") == "group" for tag in Page(html_of(batch)).all("div"))
    assert 0 < shown < 400
    assert f"{400 - shown} more are listed in duplicates.json alone" in " ".join(Page(html_of(batch)).words.split())
    assert len(QaDuplicates.load(batch.folder.qa_dir / "duplicates.json").groups) == 400


def test_pages_of_other_data_roots_do_not_share_what_a_browser_keeps(batch: ReviewBatch, tmp_path: Path) -> None:
    batch.write()
    other = review_batch(tmp_path / "other", K, PER + 1, side=16)
    other.write()
    assert data_of(html_of(batch))["state"] != data_of(html_of(other))["state"]
    again = data_of(html_of(batch))["state"]
    batch.write(seed=2, per_cluster=3)
    assert data_of(html_of(batch))["state"] == again


def test_the_packs_map_is_linked_where_there_is_one_and_outlives_a_new_page(batch: ReviewBatch) -> None:
    batch.write()
    assert "Map of the whole pack" not in html_of(batch)
    (batch.folder.qa_dir / "map.html").write_text("map", encoding="utf-8")
    (batch.folder.qa_dir / "map").mkdir()
    (batch.folder.qa_dir / "map" / "sheet-000.webp").write_bytes(b"x")
    batch.write(map_page="map.html")
    assert "map.html" in [link.get("href") for link in Page(html_of(batch)).all("a")]
    assert (batch.folder.qa_dir / "map.html").read_text(encoding="utf-8") == "map"
    assert (batch.folder.qa_dir / "map" / "sheet-000.webp").read_bytes() == b"x"
