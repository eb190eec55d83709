import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from aivj_assets.contracts.clusters import Cluster, Clusters, cluster_id
from aivj_assets.contracts.frames_index import FailedRecord, FrameMetrics, OkRecord, frame_paths, id_hash
from aivj_assets.contracts.qa_index import QaIndex
from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey
from aivj_assets.qa.page import write_qa_samples

HOSTILE = [
    "<script>alert(1)</script> - \"><img src=x onerror=alert(1)> & 'quoted'",
    "Author - " + "long title " * 30,
    "🔥 DJ 🦄 - ночь 日本",
    "שלום - عنوان",
    "evil \u202e - txt.exe\u202c {{ 7 * 7 }} {% raw %}",
]


class Batch:
    """A batch of 5 + 20 + 1 presets in three clusters on disk, each preset's frames in a colour of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = BatchDir(folder)
        self.labels = {f"p{number:02d}": f"Geiss - Title {number}" for number in range(26)}
        self.labels |= {f"p{number:02d}": label for number, label in enumerate(HOSTILE)}
        self.assignments = {
            name: "c01" if number < 5 else "c02" if number == 25 else "c00" for number, name in enumerate(self.labels)
        }
        self.energies: dict[str, Energy] = {name: ENERGIES[number % 3] for number, name in enumerate(self.labels)}
        self.records: dict[str, OkRecord | FailedRecord] = {
            name: self._rendered(number, name, captures=1 if number == 25 else 3)
            for number, name in enumerate(self.labels)
        }

    def _rendered(self, number: int, name: str, captures: int) -> OkRecord:
        frames = frame_paths(id_hash(name), captures, "webp")
        for capture, frame in enumerate(frames):
            path = self.folder.path / frame
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number * 9, capture * 100, 50)).save(path, lossless=True)
        return OkRecord(
            preset_id=name,
            rel_path=f"starter/{self.labels[name].replace('/', '-')}.milk",
            file_path="x",
            id_hash=id_hash(name),
            frames=frames,
            metrics=FrameMetrics(avg_luma=number / 50, motion=(number * 7 % 26) / 50),
        )

    def write(self, *, per_cluster: int = 12, frame_index: int = 1, seed: int = 1) -> QaIndex:
        sizes = [list(self.assignments.values()).count(cluster_id(number)) for number in range(3)]
        clusters = Clusters(
            k=3,
            seed=1,
            strategy="versioned",
            previous=None,
            clusters=[
                Cluster(id=cluster_id(row), size=size, centroid=row, born_in="starter", label=cluster_id(row))
                for row, size in enumerate(sizes)
            ],
            assignments=self.assignments,
        )
        return write_qa_samples(
            self.folder,
            BatchKey("starter", "batch-0001"),
            clusters,
            records=self.records,
            energies=self.energies,
            labels=self.labels,
            per_cluster=per_cluster,
            frame_index=frame_index,
            seed=seed,
        )


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path / "batch")


class Page(HTMLParser):
    """Tags with their attributes, and all text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_index_names_every_copy_and_every_copy_is_the_capture_asked_for(batch: Batch) -> None:
    index = batch.write()
    folder = batch.folder.qa_dir
    assert json.loads((folder / "index.json").read_text(encoding="utf-8")) == index.to_json()
    assert (index.pack, index.per_cluster, index.frame_index) == ("starter", 12, 1)
    assert [sum(copy.cluster == f"c0{number}" for copy in index.copied) for number in range(3)] == [12, 5, 1]
    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*.webp")}
    several = {id_hash(name) for copy in index.copied if (name := copy.preset_id) != "p25"}
    assert on_disk == {copy.dest for copy in index.copied} | {f"strips/{digest}.webp" for digest in several}
    for copy in index.copied:
        assert batch.assignments[copy.preset_id] == copy.cluster
        assert (folder / copy.dest).read_bytes() == (batch.folder.path / copy.rel).read_bytes()
        energy = batch.energies[copy.preset_id]
        start = re.escape(f"cluster-{copy.cluster}/{copy.cluster}__{energy}__{id_hash(copy.preset_id)}__")
        assert re.fullmatch(start + r"[A-Za-z0-9._-]{1,49}\.webp", copy.dest)
        # The lonely preset has one capture only: its last.
        assert copy.rel.endswith("frame-000.webp" if copy.preset_id == "p25" else "frame-001.webp")


def test_the_same_seed_gives_the_same_page_and_another_seed_other_samples(batch: Batch) -> None:
    first = batch.write()
    html = (batch.folder.qa_dir / "index.html").read_bytes()
    assert batch.write() == first
    assert (batch.folder.qa_dir / "index.html").read_bytes() == html
    assert {copy.preset_id for copy in batch.write(seed=2).copied} != {copy.preset_id for copy in first.copied}


def test_the_page_shows_every_cluster_with_its_presets_from_calm_to_peak(batch: Batch) -> None:
    index = batch.write()
    page = Page((batch.folder.qa_dir / "index.html").read_text(encoding="utf-8"))
    images = page.all("img")
    assert [image["src"] for image in images] == [copy.dest for copy in index.copied]
    assert all(image["alt"] and image["loading"] == "lazy" for image in images)
    assert [section["id"] for section in page.all("section")] == ["c00", "c01", "c02"]
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [str(link["href"]) for link in page.all("a")]
    assert links
    assert all(link.startswith("#") and link[1:] in targets for link in links)
    order = [(ENERGIES.index(batch.energies[copy.preset_id]), copy) for copy in index.copied if copy.cluster == "c00"]
    assert [energy for energy, _ in order] == sorted(energy for energy, _ in order)
    assert "20 presets 76.9" in " ".join(page.words.split())


def test_names_are_text_and_never_markup(batch: Batch) -> None:
    batch.write()
    html = (batch.folder.qa_dir / "index.html").read_text(encoding="utf-8")
    page = Page(html)
    # The data and the one script that the page's policy names by its hash.
    data, script = (text.partition(">")[2].partition("</script>")[0] for text in html.split("<script")[1:])
    assert [tag.get("type") for tag in page.all("script")] == ["application/json", None]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert json.loads(data)["batch"] == "starter/batch-0001"
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert len(page.all("img")) == 18
    for label in HOSTILE:
        author, _, title = label.partition(" - ")
        assert author.strip() in page.words
        assert title.strip() in page.words
    assert "49" not in page.words.split()


def test_the_page_needs_no_network(batch: Batch) -> None:
    batch.write()
    html = (batch.folder.qa_dir / "index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in html
    assert not re.search(r"https?://|//[a-z]|@import|url\(", html)


def test_a_second_writing_leaves_no_sample_of_the_first(batch: Batch) -> None:
    batch.write()
    batch.assignments = dict.fromkeys(batch.assignments, "c00") | {"p00": "c01", "p01": "c02"}
    index = batch.write(per_cluster=3)
    assert len(list(batch.folder.qa_dir.glob("cluster-*/*.webp"))) == len(index.copied) == 5
    assert len(list(batch.folder.qa_dir.glob("strips/*.webp"))) == 5


def test_a_frame_that_is_missing_or_outside_the_batch_is_refused_and_the_old_page_stays(batch: Batch) -> None:
    batch.write()
    before = sorted(path.name for path in batch.folder.qa_dir.rglob("*"))
    outside = batch.folder.path.parent / "secret.webp"
    outside.write_bytes(b"x")
    stray = batch.records["p25"].model_copy(update={"frames": ["../secret.webp"]})
    batch.records["p25"] = stray
    with pytest.raises(UserError, match="outside the batch"):
        batch.write()
    batch.records["p25"] = stray.model_copy(update={"frames": ["frames/gone.webp"]})
    with pytest.raises(UserError, match="missing on disk"):
        batch.write()
    batch.records["p25"] = FailedRecord(preset_id="p25", rel_path="x", file_path="x", reasons=["watchdog"])
    with pytest.raises(UserError, match="'p25' has no frames"):
        batch.write()
    assert sorted(path.name for path in batch.folder.qa_dir.rglob("*")) == before
    assert sorted(path.name for path in batch.folder.path.iterdir()) == ["frames", "qa-samples"]


def test_a_batch_that_stands_still_has_a_page(batch: Batch) -> None:
    for name, record in batch.records.items():
        batch.records[name] = record.model_copy(update={"metrics": FrameMetrics(avg_luma=0, motion=0)})
    assert batch.write().copied
